"""What was meant by a part of a goal that cannot be read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.goals.goal import FOOTPRINTS
from dpod_search.goals.grammar import AIM
from dpod_search.goals.grammar import BOUND
from dpod_search.goals.grammar import GAP
from dpod_search.goals.grammar import OTHER_NAMES
from dpod_search.goals.grammar import PHRASE


_SPELLINGS = (
    *("latency<=50%", "latency<=5ms", "macs<=50%", "macs<=2M", "params<=50k", "peak_bytes<=50%"),
    *("weight_bytes<=2MB", "weight_bytes<=50%", "accuracy>=-1pt", "accuracy>=-2%", "mae<=+3%"),
    *("smallest", "fastest", "best", "under 5 ms", "under 100 kB", "within 1 point", "front"),
)
_WORDS = (
    *("smallest", "fastest", "best", "front", "under", "below", "within", "at", "most", "point"),
    *("points", "accuracy", *FOOTPRINTS, *OTHER_NAMES),
)


def skip_gap(text: str, place: int) -> int:
    """Return where the next part of a goal begins."""
    gap = GAP.match(text, place)
    return gap.end() if gap else place


def explain_unknown(name: str, text: str, footprints: Collection[str]) -> ConfigError:
    """Return the error of a bound on a size that no net has."""
    nearest = find_nearest(name, footprints)
    hint = f"did you mean {nearest}? " if nearest else ""
    return ConfigError(
        f"{show(text)}: no size of a net is called {name}; {hint}known: {', '.join(footprints)}"
    )


def find_nearest(name: str, footprints: Collection[str]) -> str:
    """Return the footprint that a name is nearest to; empty where none is near."""
    near = difflib.get_close_matches(name.lower(), [*footprints, *OTHER_NAMES], n=1)
    return near[0] if near else ""


def suggest(text: str, part: str, footprints: Collection[str]) -> str:
    """Say what a part of a goal that cannot be read was meant to be.

    Args:
        text: The goal.
        part: What cannot be read of it.
        footprints: Names of footprints.
    """
    mended = re.sub(r"(?<![<>])=(?!=)|==|(?<![<>=])<(?![=<])", "<=", part)
    mended = re.sub(r">(?!=)", ">=", mended)
    mended = re.sub(r"[A-Za-z_]{3,}", lambda m: _mend(m[0], footprints), mended)
    is_mended = mended != part and _is_readable(mended)
    near = [mended] if is_mended else difflib.get_close_matches(part, _SPELLINGS, n=1, cutoff=0.0)
    return f"goal {show(text)}: {show(part)} cannot be read; did you mean {near[0]}?"


def _mend(word: str, footprints: Collection[str]) -> str:
    near = difflib.get_close_matches(word.lower(), [*_WORDS, *footprints], n=1, cutoff=0.7)
    return near[0] if near else word


def _is_readable(part: str) -> bool:
    place = 0
    while place < len(part):
        match = AIM.match(part, place) or BOUND.match(part, place) or PHRASE.match(part, place)
        if match is None:
            return False
        place = skip_gap(part, match.end())
    return True
