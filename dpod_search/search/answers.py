"""What the function of an objective answers: a number, or an error that says where it came up."""

from __future__ import annotations

import math

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ObjectiveError
from dpod_search.own_code import describe_error
from dpod_search.search.objectives import Objective
from dpod_search.widths import Widths


def call_objective(objective: Objective, argument: object, widths: Widths) -> object:
    """Call an objective's function.

    Args:
        objective: The objective; it has a function.
        argument: What the function takes: a subnet, or the widths.
        widths: The widths of the subnet, for a message.

    Returns:
        Whatever it returned; see :func:`to_number`.

    Raises:
        ObjectiveError: If it raised anything but an error of this package, which passes.
    """
    assert objective.function is not None
    try:
        return objective.function(argument)
    except DpodSearchError:
        raise
    except Exception as error:  # a function of the user's may raise anything
        raise ObjectiveError(
            f"objective {objective.name} raised {describe_error(error)} (widths {widths}); "
            "mend it, and run the same again"
        ) from error


def to_number(value: object, objective: str) -> float:
    """Turn what an objective returned into a number (which may be NaN).

    Raises:
        ConfigError: If it is not a number.
    """
    if not isinstance(value, str | bytes | bool):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):  # the last is a tensor's of many elements
            pass
        except OverflowError:
            return math.inf
    raise ConfigError(f"objective {objective} must return a number, got {value!r}")
