"""What was searched: ``search.json``."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import get_args

from pydantic import AfterValidator
from pydantic import PlainValidator
from pydantic import ValidationInfo
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from dpod_search.pareto import Direction
from dpod_search.quantities import is_share
from dpod_search.records.record import NOTHING
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import check_number
from dpod_search.records.record import check_whole
from dpod_search.records.record import one_of
from dpod_search.records.record import refuse


Fate = Literal["evaluated", "audited", "cached", "pruned-constraint", "pruned-surrogate", "failed"]
FATES: tuple[Fate, ...] = get_args(Fate)
EVALUATED = FATES[0]
COMPLETE = FATES[:3]  # those of trials that have values
MEASURED = FATES[:2]  # and of those whose own subnet was evaluated for them


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


def _check_sizes(sizes: Mapping[str, float], info: ValidationInfo) -> Mapping[str, float]:
    """See that all footprints of the search are there, where the search is known."""
    search = (info.context or {}).get("search")
    for name in search.footprints if search is not None else ():
        if name not in sizes:
            raise refuse("a number", at=name, got=NOTHING)
    return sizes


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
SearchedFootprint = Annotated[Footprint, AfterValidator(_check_sizes)]
SpreadFootprint = Annotated[
    Mapping[str, float], PlainValidator(partial(_check_footprint, place="../"))
]
Widths = Annotated[Mapping[str, Count], AfterValidator(_check_widths)]  # by channel group


def _check_some(values: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    if not values:
        raise refuse(f"a list of at least one {what}")
    return values


def _check_full(full: Mapping[str, float | None]) -> Mapping[str, float | None]:
    try:
        check_whole(full.get("macs"), 1)
    except PydanticCustomError:
        got = full.get("macs", NOTHING)
        raise refuse("a whole number >= 1", at="macs", got=got) from None
    return full


def _check_counts(counts: Mapping[str, int]) -> Mapping[str, int]:
    missing = next((fate for fate in FATES if fate not in counts), None)
    if missing is not None:
        raise refuse("a whole number >= 0", at=missing, got=NOTHING)
    return counts


@dataclass(frozen=True, kw_only=True)
class Objective(Record):
    """One objective of the search.

    Args:
        name: Its name.
        direction: ``minimize`` or ``maximize``.
        is_footprint: Whether this is a footprint, which is drawn in log scale.
    """

    UNWRITTEN: ClassVar[tuple[str, ...]] = ("is_footprint",)

    name: Text
    direction: Annotated[Direction, one_of("minimize", "maximize")]
    is_footprint: bool = False

    @property
    def is_share(self) -> bool:
        """Say whether this is an accuracy in [0, 1], which is written in percent."""
        return is_share(self.name)


def know_footprints(
    objectives: Iterable[Objective], footprints: Collection[str]
) -> tuple[Objective, ...]:
    """Return objectives that know which of them are footprints."""
    # A latency is a footprint as well, though it has to be measured.
    known = (*footprints, "latency_ms")
    return tuple(replace(o, is_footprint=o.name in known) for o in objectives)


@dataclass(frozen=True, kw_only=True)
class Shares(Record):
    """What lies in the layers that a group widens, as shares of the full net, in [0, 1].

    Args:
        macs: Share of its multiply-adds.
        params: Share of its parameters.
    """

    macs: Number
    params: Number


@dataclass(frozen=True, kw_only=True)
class Group(Record):
    """One channel group.

    Args:
        name: Its name.
        full: Its full width.
        rungs: The widths it may take.
        inside: The residual blocks that it lies in.
        shares: What it weighs, if that was measured. Shares overlap, and add up to more than 1.
    """

    name: Text
    full: Positive
    rungs: Annotated[tuple[Count, ...], AfterValidator(partial(_check_some, what="width"))]
    inside: tuple[Text, ...] = ()
    shares: Shares | None = None


@dataclass(frozen=True, kw_only=True)
class Audit(Record):
    """Trials evaluated although the surrogate would have pruned them; intervals are of 95 %.

    Args:
        n_audited: How many there were.
        n_wrong: How many of them were not dominated by the front of their time.
        rate: ``n_wrong / n_audited`` in [0, 1], or None if there were none.
        low: Lower end of its interval, or None.
        high: Upper end of its interval, or None.
        n_drawn: How many trials were drawn to be evaluated whatever the surrogate says.
        saved: Share of them that it would have pruned, in [0, 1], or None if there were none.
        saved_low: Lower end of its interval, or None.
        saved_high: Upper end of its interval, or None.
    """

    n_audited: Count
    n_wrong: Count
    rate: Number | None
    low: Number | None
    high: Number | None
    n_drawn: Count
    saved: Number | None
    saved_low: Number | None
    saved_high: Number | None


@dataclass(frozen=True, kw_only=True)
class Written(Record):
    """The finished trials of a study, by which it is known to be still that one.

    Args:
        n: How many there were, those too that are no widths.
        sha256: The hash of all that they tell.
    """

    n: Count
    sha256: Text


@dataclass(frozen=True, kw_only=True)
class Search(FileRecord):
    """What was searched, and what was found: ``search.json``, written by ``search``.

    Args:
        study: Name of the study.
        groups: The channel groups.
        objectives: At least one.
        footprints: Names of the footprints that the model knew, in its order.
        constraints: The bounds as they were spelled, by what they bound.
        full: The full net's footprints and measured objectives; None where it is not finite.
        counts: Number of trials of each fate.
        audit: What the audits tell of the surrogate.
        importance: For each measured objective what part of its differences goes with each group;
            the shares of one objective add up to 1. They are rough: another seed moves them by
            some hundredths. An objective that the model behind it predicts badly (below 0.5) has
            none, and with fewer than 20 different evaluated subnets none has.
        importance_r2: How well that model predicts trials it has not seen.
        front: The trials on the Pareto front.
        trials: The trials of the study.
        uncounted: Operations whose macs are in no number of macs.
    """

    FILE: ClassVar[str] = "search.json"

    study: Text
    groups: tuple[Group, ...]
    objectives: Annotated[
        tuple[Objective, ...], AfterValidator(partial(_check_some, what="objective"))
    ]
    footprints: Footprints
    constraints: Mapping[str, Text]
    full: Annotated[Mapping[str, Number | None], AfterValidator(_check_full)]
    counts: Annotated[Mapping[str, Count], AfterValidator(_check_counts)]
    audit: Audit
    importance: Mapping[str, Mapping[str, Number]]
    importance_r2: Mapping[str, Number]
    front: tuple[Count, ...]
    trials: Written
    uncounted: tuple[Text, ...]

    @model_validator(mode="after")
    def _know_footprints(self) -> Search:
        object.__setattr__(self, "objectives", know_footprints(self.objectives, self.footprints))
        return self

    @property
    def of_full(self) -> dict[str, float]:
        """What is known of the full net."""
        return {n: float(value) for n, value in self.full.items() if value is not None}
