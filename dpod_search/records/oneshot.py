"""What was chosen without a search: ``oneshot.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpod_search.records.fields import Fields
from dpod_search.records.search import Search
from dpod_search.records.search import read_footprint
from dpod_search.records.search import read_widths


_METHODS = {
    "mdp": "mdp (an exact program over widths and blocks that keeps the most importance)",
    "uniform": "uniform (the same width ratio everywhere)",
    "magnitude": "magnitude (one threshold on the magnitudes of all units)",
    "taylor": "taylor (one threshold on the Taylor importance of all units)",
    "random": "random (widths drawn by chance)",
}


@dataclass(frozen=True)
class OneShotChoice:
    """Widths that a method chose at a budget.

    Args:
        budget: As the user spelled it.
        widths: Active width by channel group.
        footprint: Footprints by name.
        importance: Share of the full net's importance that is kept, or None if the method does
            not say.
        gap: By how much the optimum may be better, as a share, or None.
        is_proven: Whether nothing better exists, or None if the method does not say.
        measured_share: Latency over the full net's, as measured when the widths were chosen, or
            None.
    """

    budget: str
    widths: Mapping[str, int]
    footprint: Mapping[str, float]
    importance: float | None = None
    gap: float | None = None
    is_proven: bool | None = None
    measured_share: float | None = None


@dataclass(frozen=True)
class OneShot:
    """A run whose widths were chosen at once.

    Args:
        method: Name of the method.
        choices: What it chose, in the order of the budgets.
        unmet: By budget, why nothing was chosen for it.
    """

    method: str
    choices: tuple[OneShotChoice, ...]
    unmet: Mapping[str, str]

    @property
    def budgets(self) -> tuple[str, ...]:
        """All budgets, the unmet ones last."""
        return (*(choice.budget for choice in self.choices), *self.unmet)

    def describe_method(self) -> str:
        """Say the method's name and what it does."""
        return _METHODS.get(self.method, self.method)


def read_oneshot(path: Path, search: Search) -> OneShot:
    """Read what was chosen at each budget."""
    fields = Fields.from_file(path)
    unmet = fields.inner("unmet")
    return OneShot(
        method=fields.text("method"),
        choices=tuple(_read_choice(inner, search) for inner in fields.inners("choices")),
        unmet={budget: unmet.text(budget) for budget in unmet.values},
    )


def _read_choice(fields: Fields, search: Search) -> OneShotChoice:
    return OneShotChoice(
        budget=fields.text("budget"),
        widths=read_widths(fields, search),
        footprint=read_footprint(fields.inner("footprint"), search.footprints),
        importance=fields.optional_number("importance"),
        gap=fields.optional_number("gap"),
        is_proven=fields.flag("is_proven") if "is_proven" in fields.values else None,
        measured_share=fields.optional_number("measured_share"),
    )
