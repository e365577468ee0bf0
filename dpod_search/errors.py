"""The errors a user can meet: what went wrong, the value got, the limit, the fix.

Every error also subclasses the builtin a caller would expect, so that code which
knows nothing of this package can still catch it. The command line prints the message
as one line and exits with code 2.
"""

from __future__ import annotations

import math
import numbers


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


def check_range(
    name: str, value: object, *, low: float | None = None, high: float | None = None
) -> None:
    """Raise unless a setting lies in its range.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        low: Smallest value allowed, or None.
        high: Largest value allowed, or None.

    Raises:
        ConfigError: If ``value`` is outside ``[low, high]`` or is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if (
        math.isnan(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
    ):
        bounds = [f">= {low:g}"] if low is not None else []
        bounds += [f"<= {high:g}"] if high is not None else []
        raise ConfigError(f"{name} must be {' and '.join(bounds)}, got {value!r}")


def check_count(name: str, value: object, *, low: int) -> None:
    """Raise unless a setting is a whole number in its range.

    Args:
        name: The setting as the user spells it, for the message.
        value: The value got.
        low: Smallest value allowed.

    Raises:
        ConfigError: If ``value`` is below ``low`` or is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{name} must be a whole number >= {low}, got {value!r}")
