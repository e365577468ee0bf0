"""Goals as users write them: parts with commas between, phrases too."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Iterator

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.goals.goal import FOOTPRINTS
from dpod_search.goals.goal import LATENCY
from dpod_search.goals.goal import SHRINKS
from dpod_search.goals.goal import Aim
from dpod_search.goals.goal import Goal
from dpod_search.goals.goal import LossBound
from dpod_search.goals.goal import SizeBound
from dpod_search.goals.goal import Unit
from dpod_search.goals.goal import refuse_twice
from dpod_search.goals.grammar import AIM
from dpod_search.goals.grammar import BOUND
from dpod_search.goals.grammar import BYTES
from dpod_search.goals.grammar import COUNTS
from dpod_search.goals.grammar import OTHER_NAMES
from dpod_search.goals.grammar import PHRASE
from dpod_search.goals.grammar import POINTS
from dpod_search.goals.grammar import TIMES
from dpod_search.goals.suggesting import explain_unknown
from dpod_search.goals.suggesting import find_nearest
from dpod_search.goals.suggesting import skip_gap
from dpod_search.goals.suggesting import suggest


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
    refuse_twice([bound.name for bound in bounds], [bound.text for bound in bounds])
    refuse_twice([bound.metric for bound in losses], [bound.text for bound in losses])
    aim: Aim = aims[0] if aims else ""
    goal = Goal(text, bounds, losses, aim)
    _check_end(goal)
    return goal


def _split(text: str, footprints: Collection[str]) -> Iterator[SizeBound | LossBound | Aim]:
    place = skip_gap(text, 0)
    while place < len(text):
        found: SizeBound | LossBound | Aim
        if match := AIM.match(text, place):
            found = _read_aim(match[1])
        elif match := BOUND.match(text, place):
            found = _read_bound(match, footprints)
        elif match := PHRASE.match(text, place):
            found = _read_phrase(match, footprints)
        else:
            raise ConfigError(suggest(text, text[place:].partition(",")[0].strip(), footprints))
        yield found
        place = skip_gap(text, match.end())


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
    if unit not in ("", "%") and unit not in POINTS:
        raise explain_unknown(name, text, footprints)
    if unit in POINTS:
        unit = "pt"
    if not sign and number > 0:
        nearest = find_nearest(name, footprints)
        if nearest and is_upper:
            raise explain_unknown(name, text, footprints)
        unknown = f"; a size is one of {', '.join(footprints)}" if is_upper else ""
        raise ConfigError(
            f"{show(text)} must say what may be lost against the full net: "
            f"{name}{'<=+' if is_upper else '>=-'}{'1pt' if unit == 'pt' else '2%'}{unknown}"
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
    if unit in POINTS or (unit == "%" and name not in footprints):
        if name in footprints:
            raise ConfigError(f"{show(text)}: {name} has no points; write {name}<=50%")
        return LossBound(name, number, "pt" if unit in POINTS else "%")
    if not name and unit in BYTES:
        name = "weight_bytes"
    elif not name and unit in TIMES:
        name = LATENCY
    if name not in footprints:
        raise ConfigError(suggest(text, text, footprints))
    return _make_size(name, number, unit, text)


def _make_size(name: str, number: float, unit: str, text: str) -> SizeBound:
    if unit == "%":
        limit, is_known = number / 100, True
    else:
        units = COUNTS
        if name == LATENCY:
            units = {"": 1.0, **TIMES}
        elif name.endswith("_bytes"):
            units = {**COUNTS, **BYTES}
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
    return OTHER_NAMES.get(name.lower(), name)


def _check_end(goal: Goal) -> None:
    """Refuse what leaves open how small, or how good, a net is to be."""
    if goal.aim in SHRINKS and not goal.losses:
        name = SHRINKS[goal.aim]
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
