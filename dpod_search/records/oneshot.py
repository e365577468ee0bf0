"""What was chosen without a search: ``oneshot.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Number
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.search import SearchedFootprint
from dpod_search.records.search import Widths


_METHODS = {
    "mdp": "mdp (an exact program over widths and blocks that keeps the most importance)",
    "uniform": "uniform (the same width ratio everywhere)",
    "magnitude": "magnitude (one threshold on the magnitudes of all units)",
    "taylor": "taylor (one threshold on the Taylor importance of all units)",
    "random": "random (widths drawn by chance)",
}


@dataclass(frozen=True, kw_only=True)
class OneShotChoice(Record):
    """Widths that a method chose at a budget; what the method does not say is None.

    Args:
        budget: As the user spelled it.
        widths: Active width by channel group.
        footprint: Footprints by name.
        importance: Share of the full net's importance that is kept.
        bound: Share that no widths within the budget exceed.
        gap: By how much the optimum may be better, as a share.
        is_proven: Whether nothing better exists.
        seconds: What the width program took.
        measured_share: Latency over the full net's, as measured when the widths were chosen.
        n_corrections: How often the limit was moved for that.
    """

    budget: Text
    widths: Widths
    footprint: SearchedFootprint
    importance: Number | None = None
    bound: Number | None = None
    gap: Number | None = None
    is_proven: Flag | None = None
    seconds: Number | None = None
    measured_share: Number | None = None
    n_corrections: Count | None = None


@dataclass(frozen=True, kw_only=True)
class OneShot(FileRecord):
    """A run whose widths were chosen at once: ``oneshot.json``, written by ``search``.

    Args:
        key: A hash of all that the choice depends on.
        method: Name of the method.
        choices: What it chose, in the order of the budgets.
        unmet: By budget, why nothing was chosen for it.
    """

    FILE: ClassVar[str] = "oneshot.json"

    key: Text
    method: Text
    choices: tuple[OneShotChoice, ...]
    unmet: Mapping[str, Text]

    @property
    def budgets(self) -> tuple[str, ...]:
        """All budgets, the unmet ones last."""
        return (*(choice.budget for choice in self.choices), *self.unmet)

    def describe_method(self) -> str:
        """Say the method's name and what it does."""
        return _METHODS.get(self.method, self.method)
