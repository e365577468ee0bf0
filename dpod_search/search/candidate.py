"""One subnet of a front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

from dpod_search.quantities import label
from dpod_search.quantities import spell
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.widths import Widths


if TYPE_CHECKING:
    from dpod_search.supernet import Subnet


@dataclass(frozen=True, repr=False)
class Candidate(Shown):
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

    def _describe(self) -> Sheet:
        sizes = {name: size for name, size in self.footprint.items() if name not in self.values}
        told = {**self.values, **sizes}
        facts = [(label(name), spell(name, told[name])) for name in list(told)[:4]]
        rows = [(name, str(width)) for name, width in self.widths.items()]
        facts = [("trial", str(self.trial)), *facts, ("widths", str(self.widths))]
        return Sheet("Candidate", facts, ("group", "width"), rows, is_brief=True)
