"""The errors a user can meet: what went wrong, the value got, the limit, the fix.

Every error also subclasses the builtin a caller would expect, so that code which
knows nothing of this package can still catch it. The command line prints the message
as one line and exits with code 2.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Collection
from typing import cast


class DpodSearchError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(DpodSearchError, ValueError):
    """A study file, a setting or an argument is not valid."""


class DataError(DpodSearchError, ValueError):
    """Data are missing, empty, or not of the form that is needed."""


class GroupingError(DpodSearchError, ValueError):
    """The model cannot be traced, or its channel groups cannot be found."""


class InfeasibleError(DpodSearchError, ValueError):
    """No subnet of the space can meet the constraints."""


class SolverError(DpodSearchError, TimeoutError):
    """An integer program was not solved within its time: there is no choice of widths to give."""


class ObjectiveError(DpodSearchError, RuntimeError):
    """An objective raised an error of its own, which is this one's ``__cause__``."""


class TrainingError(DpodSearchError, ArithmeticError):
    """Training broke down, for instance because the loss became NaN."""


class CalibrationError(DpodSearchError, RuntimeError):
    """BatchNorm statistics could not be re-estimated."""


class CheckpointError(DpodSearchError, RuntimeError):
    """A checkpoint is damaged, does not belong here, or could not be written."""


class ExportError(DpodSearchError, RuntimeError):
    """A model could not be exported, or the exported model does not agree."""


class RunFolderError(DpodSearchError, RuntimeError):
    """A run folder is in use, belongs to another study, or lacks a stage's results."""


# Bounds that no honest study meets and several rooms have: thirty years, and more threads or
# processes than any machine bears (what this one bears is asked where they are made).
MAX_SECONDS = 1_000_000_000
MAX_PROCESSES = 1024

# Characters of a value that a message shows; the rest is left out in the middle.
_SHOWN = 80


def shorten(text: str, n_characters: int = _SHOWN) -> str:
    """Spell a text of the user's, such as a path, for a message: on one line, and short."""
    text = text if text.isprintable() else repr(text)[1:-1]
    if len(text) <= n_characters:
        return text
    half = n_characters // 2
    return f"{text[:half]} ... {text[-half:]}"


def tell_first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is if it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else repr(error)


def show(value: object) -> str:
    """Spell a value that the user gave, for a message: on one line, and short in any case."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python spells
        return f"a {type(value).__name__} too large to be shown"
    return shorten(text)


def check_range(name: str, value: object, *, low: float, high: float) -> None:
    """Raise unless a setting lies in its range.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        low: Smallest value allowed.
        high: Largest value allowed. Infinity for none, which lets infinity itself pass: no
            setting of a study has that.

    Raises:
        ConfigError: If ``value`` is outside ``[low, high]`` or is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} must be a number, got {show(value)}")
    number = cast(float, value)  # in name only: a whole number may be too large to be a float
    if not low <= number <= high:  # nor is NaN
        raise ConfigError(f"{name} must be {_spell_range(low, high)}, got {show(value)}")


def check_count(name: str, value: object, *, low: int, high: int) -> None:
    """Raise unless a setting is a whole number in its range.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        low: Smallest value allowed.
        high: Largest value allowed.

    Raises:
        ConfigError: If ``value`` is outside ``[low, high]`` or is no whole number.
    """
    number = cast(int, value)
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or not low <= number <= high:
        allowed = _spell_range(low, high)
        raise ConfigError(f"{name} must be a whole number {allowed}, got {show(value)}")


def name_nearest(name: str, known: Collection[str]) -> str:
    """Return a remark on the nearest known name, for a message about an unknown one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise unless a setting is one of several names.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        choices: The names allowed.

    Raises:
        ConfigError: If ``value`` is another one.
    """
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{name} must be one of {sorted(choices)}, got {show(value)}{hint}")


def check_list(name: str, value: object, *, low: int, high: int) -> None:
    """Raise unless a setting is a list of so many entries, none of them twice.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        low: Fewest entries allowed.
        high: Most entries allowed.

    Raises:
        ConfigError: If not.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} must be a list, got {show(value)}")
    if not low <= len(value) <= high:
        raise ConfigError(f"{name} must have {low:,} to {high:,} entries, got {len(value):,}")
    for place, entry in enumerate(value):
        if entry in value[:place]:
            raise ConfigError(f"{name} has {show(entry)} twice; leave one of them")


def _spell_range(low: float, high: float) -> str:
    bounds = [f">= {_spell_bound(low)}"] if low > -math.inf else []
    bounds += [f"<= {_spell_bound(high)}"] if high < math.inf else []
    return " and ".join(bounds) or "a number"


def _spell_bound(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"
