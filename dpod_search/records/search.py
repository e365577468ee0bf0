"""What was searched: ``search.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal
from typing import cast
from typing import get_args

from pydantic import AfterValidator
from pydantic import PlainValidator
from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from dpod_search.pareto import Direction
from dpod_search.quantities import is_accuracy
from dpod_search.records.fields import Fields
from dpod_search.records.record import NOTHING
from dpod_search.records.record import Count
from dpod_search.records.record import Text
from dpod_search.records.record import check_number
from dpod_search.records.record import check_whole
from dpod_search.records.record import refuse


Fate = Literal["evaluated", "audited", "cached", "pruned-constraint", "pruned-surrogate", "failed"]
FATES: tuple[Fate, ...] = get_args(Fate)


@dataclass(frozen=True)
class Objective:
    """One objective of the search.

    Args:
        name: Its name, as in ``search.json``.
        direction: ``"minimize"`` or ``"maximize"``.
        is_footprint: Whether this is a footprint, which is drawn in log scale.
    """

    name: str
    direction: Direction
    is_footprint: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Say whether this is an accuracy in [0, 1], which is written in percent."""
        return is_accuracy(self.name)


@dataclass(frozen=True)
class Group:
    """One channel group: its name, its full width and the widths it may take.

    ``shares`` are the parts of the full net's macs and parameters that lie in the layers it
    widens, each in [0, 1]; None in the folders of older versions.
    """

    name: str
    full: int
    rungs: tuple[int, ...]
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Audit:
    """Trials evaluated although the surrogate would have pruned them.

    Args:
        n_audited: How many there were.
        n_wrong: How many of them were not dominated by the front of their time.
        rate: ``n_wrong / n_audited`` in [0, 1], or None if there were none.
        low: Lower end of its 95 % interval, or None.
        high: Upper end of its 95 % interval, or None.
        n_drawn: How many trials were drawn to be evaluated whatever the surrogate says.
        saved: Share of them that it would have pruned, in [0, 1], or None if there were none.
        saved_low: Lower end of its 95 % interval, or None.
        saved_high: Upper end of its 95 % interval, or None.
    """

    n_audited: int
    n_wrong: int
    rate: float | None
    low: float | None
    high: float | None
    n_drawn: int = 0
    saved: float | None = None
    saved_low: float | None = None
    saved_high: float | None = None


@dataclass(frozen=True)
class Search:
    """What was searched: ``search.json``.

    ``footprints`` are those known of every trial. ``importance`` tells, for each measured
    objective, the share of each group in [0, 1]; it is None in the folders of older versions.
    ``importance_r2`` says how well the model behind it predicts trials it has not seen.
    ``uncounted`` are operations whose macs are not in any number of macs.
    """

    study: str
    groups: tuple[Group, ...]
    objectives: tuple[Objective, ...]
    footprints: tuple[str, ...]
    constraints: Mapping[str, str]
    full: Mapping[str, float]
    counts: Mapping[str, int]
    audit: Audit
    front: tuple[int, ...]
    importance: Mapping[str, Mapping[str, float]] | None = None
    importance_r2: Mapping[str, float] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if "macs" not in names:
        raise refuse("names with macs among them")
    return names


def _check_footprint(sizes: Any, place: str = "") -> dict[str, float]:
    if not isinstance(sizes, dict):
        raise refuse("an object")
    checked = {}
    for name, value in sizes.items():
        try:  # all but the modelled latency are counts
            checked[name] = (
                check_number(value) if name == "latency" else check_whole(value, name == "macs")
            )
        except PydanticCustomError as error:
            told = str((error.context or {})["wanted"])
            raise refuse(told, at=f"{place}{name}", got=value) from None
    return checked


def _check_widths(widths: Mapping[str, int], info: ValidationInfo) -> Mapping[str, int]:
    """See that the widths are those of the search's groups, where the search is known."""
    search = (info.context or {}).get("search")
    if search is None:
        return widths
    for group in search.groups:
        low = min(group.rungs)
        if widths.get(group.name, low - 1) < low:
            wanted, got = f"a whole number >= {low}", widths.get(group.name, NOTHING)
            raise refuse(wanted, at=group.name, got=got)
    return {group.name: widths[group.name] for group in search.groups}


Footprints = Annotated[tuple[Text, ...], AfterValidator(_check_names)]
Footprint = Annotated[Mapping[str, float], PlainValidator(_check_footprint)]
SpreadFootprint = Annotated[
    Mapping[str, float], PlainValidator(partial(_check_footprint, place="../"))
]
Widths = Annotated[Mapping[str, Count], AfterValidator(_check_widths)]  # by channel group


def read_search(path: Path) -> Search:
    """Read what was searched."""
    fields = Fields.from_file(path)
    footprints = read_footprints(fields)
    objectives = tuple(_read_objective(f, footprints) for f in fields.inners("objectives"))
    if not objectives:
        fields.refuse("objectives", "a list of at least one objective")
    full = fields.inner("full")
    full.integer("macs", low=1)
    constraints = fields.inner("constraints")
    counts = fields.inner("counts")
    return Search(
        study=fields.text("study"),
        groups=tuple(_read_group(inner) for inner in fields.inners("groups")),
        objectives=objectives,
        footprints=footprints,
        constraints={name: constraints.text(name) for name in constraints.values},
        full={name: full.number(name) for name in full.values if full.get(name) is not None},
        counts={fate: counts.integer(fate) for fate in FATES},
        audit=_read_audit(fields.inner("audit")),
        front=fields.integers("front"),
        importance=_read_importance(fields),
        importance_r2=_read_numbers(fields, "importance_r2"),
        # An older version wrote none.
        uncounted=fields.texts("uncounted") if "uncounted" in fields.values else (),
    )


def _read_objective(fields: Fields, footprints: tuple[str, ...]) -> Objective:
    direction = cast(Direction, fields.choice("direction", ("minimize", "maximize")))
    name = fields.text("name")
    # A latency is a footprint as well, though it has to be measured.
    return Objective(name, direction, is_footprint=name in (*footprints, "latency_ms"))


def _read_group(fields: Fields) -> Group:
    # A version before 0.3 wrote none.
    shares = _read_numbers(fields, "shares") if "shares" in fields.values else None
    return Group(
        fields.text("name"), fields.integer("full", low=1), fields.integers("rungs"), shares
    )


def _read_numbers(fields: Fields, key: str) -> dict[str, float]:
    inner = fields.inner(key) if key in fields.values else Fields(fields.path, "", {})
    return {name: inner.number(name) for name in inner.values}


def _read_importance(fields: Fields) -> dict[str, dict[str, float]] | None:
    if "importance" not in fields.values:
        return None  # a version before 0.3 wrote it
    importance = fields.inner("importance")
    inners = {name: importance.inner(name) for name in importance.values}
    return {
        name: {group: inner.number(group) for group in inner.values}
        for name, inner in inners.items()
    }


def _read_audit(fields: Fields) -> Audit:
    return Audit(
        n_audited=fields.integer("n_audited"),
        n_wrong=fields.integer("n_wrong"),
        rate=fields.optional_number("rate"),
        low=fields.optional_number("low"),
        high=fields.optional_number("high"),
        n_drawn=fields.integer("n_drawn") if "n_drawn" in fields.values else 0,  # 0.1.0 lacks it
        saved=fields.optional_number("saved"),
        saved_low=fields.optional_number("saved_low"),
        saved_high=fields.optional_number("saved_high"),
    )


# Version 0.1.0 knew these and did not write their names down.
_FIRST_FOOTPRINTS = ("macs", "params", "weight_bytes")


def read_footprints(fields: Fields) -> tuple[str, ...]:
    """Return the names of the footprints that a file knows."""
    names = fields.texts("footprints") if "footprints" in fields.values else _FIRST_FOOTPRINTS
    if "macs" not in names:
        fields.refuse("footprints", "names with macs among them")
    return names


def read_footprint(fields: Fields, names: tuple[str, ...]) -> dict[str, float]:
    """Return the footprints of a subnet."""
    # All but the modelled latency are counts.
    return {
        name: fields.number(name)
        if name == "latency"
        else fields.integer(name, low=1 if name == "macs" else 0)
        for name in names
    }


def read_widths(fields: Fields, search: Search) -> dict[str, int]:
    """Return the active width of each group."""
    widths = fields.inner("widths")
    return {
        group.name: widths.integer(group.name, low=min(group.rungs)) for group in search.groups
    }
