"""What a user wants of a smaller net, in the user's words: ``latency<=50%, accuracy>=-1pt``.

A goal has bounds on footprints, bounds on what may be lost against the full net, and at most one
superlative. What it names of metrics is checked when the task is known.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from typing import Protocol

from dpod_search.errors import ConfigError
from dpod_search.errors import show


LATENCY = "latency"
FOOTPRINTS = ("macs", "params", "weight_bytes", "peak_bytes", LATENCY)

Aim = Literal["", "smallest", "fastest", "best"]
Unit = Literal["pt", "%", ""]

# What each superlative makes as small as it can.
_SHRINKS = {"smallest": "weight_bytes", "fastest": LATENCY}
_OTHER_NAMES = {
    "size": "weight_bytes",
    "memory": "peak_bytes",
    "parameters": "params",
    "time": LATENCY,
    "latency_ms": LATENCY,
}
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds
_POINTS = frozenset({"pt", "pts", "pp", "point", "points"})

_NUMBER = r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_UNIT = "|".join(sorted({"%", *_COUNTS, *_BYTES, *_TIMES, *_POINTS} - {""}, key=len, reverse=True))
_AMOUNT = rf"({_NUMBER})\s*({_UNIT}|)(?![A-Za-z0-9_%.])"
_BEGIN = r"(?:under|below|within|at|up|and|with|smallest|fastest|best)\b"
_OF = rf"(?:\s+(?:of\s+)?(?:the\s+)?(?!{_BEGIN})([A-Za-z_][A-Za-z0-9_]*))?"
_GAP = re.compile(r"(?:\s|,|;|\band\b|\bwith\b)+", re.IGNORECASE)
_AIM = re.compile(r"(smallest|fastest|best)\b", re.IGNORECASE)
_BOUND = re.compile(
    rf"([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|≤|≥)\s*([-+−]?)\s*{_AMOUNT}", re.IGNORECASE
)
_PHRASE = re.compile(
    rf"(?:under|below|within|at\s+most|up\s+to)\s+{_AMOUNT}"
    rf"(?:{_OF}(?!\w|\s*[<>=≤≥]))?",
    re.IGNORECASE,
)

_SPELLINGS = (
    *("latency<=50%", "latency<=5ms", "macs<=50%", "macs<=2M", "params<=50k", "peak_bytes<=50%"),
    *("weight_bytes<=2MB", "weight_bytes<=50%", "accuracy>=-1pt", "accuracy>=-2%", "mae<=+3%"),
    *("smallest", "fastest", "best", "under 5 ms", "under 100 kB", "within 1 point", "front"),
)
_WORDS = (
    *("smallest", "fastest", "best", "front", "under", "below", "within", "at", "most", "point"),
    *("points", "accuracy", *FOOTPRINTS, *_OTHER_NAMES),
)


class Metric(Protocol):
    """A metric of a task."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def direction(self) -> str:
        """``minimize`` or ``maximize``."""

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, in [0, 1]."""


@dataclass(frozen=True)
class SizeBound:
    """A bound on a footprint, from above.

    Args:
        name: The footprint.
        limit: The largest value: macs and parameters by number, bytes, milliseconds; of a share,
            over the full net's.
        is_share: Whether it is a share of the full net's.
    """

    name: str
    limit: float
    is_share: bool

    @property
    def text(self) -> str:
        """The bound as budgets of a study are spelled."""
        if self.is_share:
            return f"{self.name}<={100 * self.limit:.10g}%"
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if self.limit >= size and self.name != LATENCY:
                return f"{self.name}<={self.limit / size:.12g}{unit}"
        return f"{self.name}<={self.limit:.12g}"


@dataclass(frozen=True)
class LossBound:
    """A bound on what may be lost against the full net.

    Args:
        metric: Name of the metric; empty is the task's first.
        most: What may be lost, >= 0: of ``pt`` in percentage points, of ``%`` in per cent of the
            full net's value, else in the metric's own unit.
        unit: ``pt``, ``%`` or empty.
        is_minimized: Whether the metric is taken for one of which less is better; None where it
            was not said.
    """

    metric: str
    most: float
    unit: Unit
    is_minimized: bool | None = None

    @property
    def text(self) -> str:
        """The bound as goals are spelled."""
        sense = "<=+" if self.is_minimized else ">=-"
        return f"{self.metric}{sense}{self.most:g}{self.unit}"

    def allow(self, of_full: float) -> float:
        """Return what may be lost in the metric's own unit, of what the full net has."""
        if self.unit == "%":
            return self.most / 100 * abs(of_full)
        return self.most / 100 if self.unit == "pt" else self.most


@dataclass(frozen=True)
class Goal:
    """What a smaller net is to be.

    Args:
        text: As the user spelled it.
        bounds: On footprints, at most one on each.
        losses: On metrics, at most one on each.
        aim: The superlative, or empty.
        is_front: Whether all of the front is asked for, and nothing else.
    """

    text: str
    bounds: tuple[SizeBound, ...] = ()
    losses: tuple[LossBound, ...] = ()
    aim: Aim = ""
    is_front: bool = False

    @property
    def shrinks(self) -> str:
        """The footprint that is to become as small as it can; empty where bounds are enough."""
        return _SHRINKS.get(self.aim, "") if self.losses else ""

    @property
    def budget(self) -> str:
        """All bounds on footprints, as a budget of a study; empty without any."""
        return " and ".join(bound.text for bound in self.bounds)

    def __str__(self) -> str:
        """Spell the goal in the one way that has no synonyms."""
        if self.is_front:
            return "front"
        aim = [self.aim] if self.aim else []
        return ", ".join([*aim, *(b.text for b in self.bounds), *(b.text for b in self.losses)])

    def fit(self, metrics: Sequence[Metric]) -> Goal:
        """Return the goal with every metric by its name, checked against those of a task.

        Args:
            metrics: Those of the task, the first one first.

        Raises:
            ConfigError: If it names another, or asks of one what it does not have.
        """
        losses = tuple(_fit(bound, metrics) for bound in self.losses)
        _refuse_twice([bound.metric for bound in losses], [bound.text for bound in losses])
        return Goal(self.text, self.bounds, losses, self.aim, self.is_front)


def parse_goal(text: str, footprints: Collection[str] = FOOTPRINTS) -> Goal:
    """Read a goal.

    Args:
        text: Parts with commas between them: ``latency<=50%``, ``weight_bytes<=100kB``,
            ``accuracy>=-1pt``, ``mae<=+3%``, ``smallest``, ``fastest``, ``best``; also
            ``under 5 ms`` and ``within 1 point``. ``front``, or nothing at all, asks for all.
        footprints: Names that a bound on a size may have; any other is a metric's.

    Raises:
        ConfigError: If it cannot be read, contradicts itself, or has no end; names the nearest
            spelling.
    """
    words = text.strip()
    if not words or re.fullmatch(r"(the\s+)?(pareto\s+)?front", words, re.IGNORECASE):
        return Goal(text=text, is_front=True)
    parts = list(_split(text, footprints))
    aims = [part for part in parts if isinstance(part, str)]
    bounds = tuple(part for part in parts if isinstance(part, SizeBound))
    losses = tuple(part for part in parts if isinstance(part, LossBound))
    if len(aims) > 1:
        raise ConfigError(f"goal {show(text)} has {' and '.join(aims)}; leave one of them")
    _refuse_twice([bound.name for bound in bounds], [bound.text for bound in bounds])
    _refuse_twice([bound.metric for bound in losses], [bound.text for bound in losses])
    aim: Aim = aims[0] if aims else ""
    goal = Goal(text, bounds, losses, aim)
    _check_end(goal)
    return goal


def _split(text: str, footprints: Collection[str]) -> Iterator[SizeBound | LossBound | Aim]:
    place = _skip(text, 0)
    while place < len(text):
        found: SizeBound | LossBound | Aim
        if match := _AIM.match(text, place):
            found = _read_aim(match[1])
        elif match := _BOUND.match(text, place):
            found = _read_bound(match, footprints)
        elif match := _PHRASE.match(text, place):
            found = _read_phrase(match, footprints)
        else:
            raise ConfigError(_suggest(text, text[place:].partition(",")[0].strip(), footprints))
        yield found
        place = _skip(text, match.end())


def _skip(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return gap.end() if gap else place


def _read_aim(word: str) -> Aim:
    return {"s": "smallest", "f": "fastest", "b": "best"}[word[0].lower()]  # type: ignore[return-value]  # of these


def _read_bound(match: re.Match[str], footprints: Collection[str]) -> SizeBound | LossBound:
    text = match[0]
    name, number, unit = _rename(match[1]), float(match[4]), match[5].lower()
    is_upper, sign = match[2] in ("<=", "≤"), match[3].replace("−", "-")
    if name in footprints:
        if not is_upper:
            raise ConfigError(
                f"{show(text)} bounds {name} from below, and a smaller net is wanted; did you mean "
                f"{name}<={match[4]}{match[5]}?"
            )
        if sign == "-":
            raise ConfigError(f"{show(text)} must be above 0, such as {name}<=50%")
        return _make_size(name, number, unit, text)
    if unit not in ("", "%") and unit not in _POINTS:
        raise _unknown(name, text, footprints)
    if unit in _POINTS:
        unit = "pt"
    if not sign and number > 0:
        nearest = _find_nearest(name, footprints)
        if nearest and is_upper:
            raise _unknown(name, text, footprints)
        raise ConfigError(
            f"{show(text)} must say what may be lost against the full net: "
            f"{name}{'<=+' if is_upper else '>=-'}{'1pt' if unit == 'pt' else '2%'}"
        )
    if is_upper == (sign == "-") and number > 0:
        nearest_text = f"{name}{'<=' if is_upper else '>='}{'+' if is_upper else '-'}0"
        raise ConfigError(
            f"{show(text)} asks for a net that is better than the full net, which nothing promises; "
            f"the nearest is {nearest_text}"
        )
    kind: Unit = "pt" if unit == "pt" else "%" if unit == "%" else ""
    return LossBound(name, number, kind, is_upper)


def _read_phrase(match: re.Match[str], footprints: Collection[str]) -> SizeBound | LossBound:
    text, number, unit = match[0], float(match[1]), match[2].lower()
    name = _rename(match[3] or "")
    if unit in _POINTS or (unit == "%" and name not in footprints):
        if name in footprints:
            raise ConfigError(f"{show(text)}: {name} has no points; write {name}<=50%")
        return LossBound(name, number, "pt" if unit in _POINTS else "%")
    if not name and unit in _BYTES:
        name = "weight_bytes"
    elif not name and unit in _TIMES:
        name = LATENCY
    if name not in footprints:
        raise ConfigError(_suggest(text, text, footprints))
    return _make_size(name, number, unit, text)


def _make_size(name: str, number: float, unit: str, text: str) -> SizeBound:
    if unit == "%":
        limit, is_known = number / 100, True
    else:
        units = _COUNTS
        if name == LATENCY:
            units = {"": 1.0, **_TIMES}
        elif name.endswith("_bytes"):
            units = {**_COUNTS, **_BYTES}
        is_known = unit in units
        limit = number * units.get(unit, 1.0)
    if not is_known:
        example = {LATENCY: "5ms"}.get(name, "100kB" if name.endswith("_bytes") else "2M")
        raise ConfigError(
            f"{show(text)}: {name} is not counted in {unit}; write {name}<={example}"
        )
    if not 0 < limit < 1e18:
        raise ConfigError(f"{show(text)} must be above 0, such as {name}<=50%")
    return SizeBound(name, limit, unit == "%")


def _rename(name: str) -> str:
    return _OTHER_NAMES.get(name.lower(), name)


def _refuse_twice(names: Sequence[str], texts: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            first = texts[names.index(name)]
            raise ConfigError(
                f"a goal bounds {name or 'what may be lost'} once, got {first} and {texts[place]}; "
                "leave one of them"
            )


def _check_end(goal: Goal) -> None:
    """Refuse what leaves open how small, or how good, a net is to be."""
    if goal.aim in _SHRINKS and not goal.losses:
        name = _SHRINKS[goal.aim]
        if all(bound.name != name for bound in goal.bounds):
            raise ConfigError(
                f"goal {show(goal.text)} does not say what may be lost; did you mean "
                f"{', '.join([goal.aim, *(b.text for b in goal.bounds)])}, accuracy>=-1pt?"
            )
    if goal.aim != "" and goal.shrinks == "" and not goal.bounds:
        raise ConfigError(
            f"goal {show(goal.text)} is met by the full net; say how small the net is to be, such as "
            "best under 2 MB"
        )
    if goal.aim == "" and not goal.bounds:
        raise ConfigError(
            f"goal {show(goal.text)} is met by the full net; say what is to be small, such as "
            f"smallest, {goal} or latency<=50%, {goal}".replace(" >=", " accuracy>=")
        )


def _fit(bound: LossBound, metrics: Sequence[Metric]) -> LossBound:
    names = [metric.name for metric in metrics]
    name = bound.metric or names[0]
    if name not in names:
        near = difflib.get_close_matches(name, [*names, *FOOTPRINTS], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"goal: nothing is called {show(name)}; {hint}The task measures {', '.join(names)}, and "
            f"a net's size is {', '.join(FOOTPRINTS)}"
        )
    metric = metrics[names.index(name)]
    is_minimized = metric.direction == "minimize"
    fitted = LossBound(name, bound.most, bound.unit, is_minimized)
    if bound.unit == "pt" and not metric.is_share:
        raise ConfigError(
            f"goal: {name} is no share and has no points; write {LossBound(name, 3, '%', is_minimized).text}"
        )
    if bound.is_minimized not in (None, is_minimized):
        sense = "less" if is_minimized else "more"
        raise ConfigError(f"goal: {sense} of {name} is better; write {fitted.text}")
    return fitted


def _unknown(name: str, text: str, footprints: Collection[str]) -> ConfigError:
    nearest = _find_nearest(name, footprints)
    hint = f"did you mean {nearest}? " if nearest else ""
    return ConfigError(
        f"{show(text)}: no size of a net is called {name}; {hint}known: {', '.join(footprints)}"
    )


def _find_nearest(name: str, footprints: Collection[str]) -> str:
    near = difflib.get_close_matches(name.lower(), [*footprints, *_OTHER_NAMES], n=1)
    return near[0] if near else ""


def _suggest(text: str, part: str, footprints: Collection[str]) -> str:
    """Say what a part that cannot be read was meant to be."""
    mended = re.sub(r"(?<![<>])=(?!=)|==|(?<![<>=])<(?![=<])", "<=", part)
    mended = re.sub(r">(?!=)", ">=", mended)
    mended = re.sub(r"[A-Za-z_]{3,}", lambda m: _mend(m[0], footprints), mended)
    readable = mended != part and _is_readable(mended, footprints)
    near = [mended] if readable else difflib.get_close_matches(part, _SPELLINGS, n=1, cutoff=0.0)
    return f"goal {show(text)}: {show(part)} cannot be read; did you mean {near[0]}?"


def _mend(word: str, footprints: Collection[str]) -> str:
    near = difflib.get_close_matches(word.lower(), [*_WORDS, *footprints], n=1, cutoff=0.7)
    return near[0] if near else word


def _is_readable(part: str, footprints: Collection[str]) -> bool:
    try:
        return all(_split_once(part, footprints))
    except ConfigError:
        return False


def _split_once(part: str, footprints: Collection[str]) -> Iterator[bool]:
    place = 0
    while place < len(part):
        match = _AIM.match(part, place) or _BOUND.match(part, place) or _PHRASE.match(part, place)
        yield match is not None
        if match is None:
            return
        place = _skip(part, match.end())
