"""One subnet of a front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

from dpod_search.widths import Widths


if TYPE_CHECKING:
    from dpod_search.supernet import Subnet


@dataclass(frozen=True)
class Candidate:
    """One subnet of the front.

    Args:
        trial: Number of the trial that found it.
        widths: Its widths.
        values: Its objective values by name.
        footprint: Its footprints by name.
        subnet: The subnet itself, or None if the search had no supernet.
    """

    trial: int
    widths: Widths
    values: Mapping[str, float]
    footprint: Mapping[str, float]
    subnet: Subnet | None = field(default=None, compare=False, repr=False)

    @property
    def macs(self) -> float:
        """Multiply-adds for each sample (or the first footprint, if macs are not known)."""
        return self.footprint.get("macs", next(iter(self.footprint.values())))
