"""Widths as Optuna's parameters, and back.

Each channel group with more than one rung is one integer parameter under the group's name.
Its value is the number of the rung counted from the narrowest, beginning at 1, because rungs
are evenly spread while the widths themselves may not be. What the numbers stand for is in the
trial's user attribute ``widths``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Protocol

import optuna
from optuna.distributions import IntDistribution

from dpod_search.errors import ConfigError
from dpod_search.search.store.attributes import WIDTHS
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


class HasParams(Protocol):
    """A trial, running or frozen."""

    @property
    def params(self) -> dict[str, Any]:
        """Values of the parameters by name."""


def make_distributions(space: WidthSpace) -> dict[str, IntDistribution]:
    """Return Optuna's distribution of every group that has a choice."""
    return {
        name: IntDistribution(1, n_rungs)
        for name, n_rungs in zip(space.names, space.n_rungs, strict=True)
        if n_rungs > 1
    }


def suggest_widths(trial: optuna.trial.Trial, space: WidthSpace) -> Widths:
    """Ask the study's sampler for the widths of a trial.

    Args:
        trial: The running trial; it also receives the user attribute ``widths``.
        space: The space to choose from.

    Returns:
        Widths of the space; what is inside removed blocks is at its narrowest.

    Raises:
        ConfigError: If somebody has enqueued a parameter that is no rung.
    """
    for name, n_rungs in zip(space.names, space.n_rungs, strict=True):
        if n_rungs > 1:
            trial.suggest_int(name, 1, n_rungs)
    widths = widths_of(trial, space)
    if WIDTHS not in trial.user_attrs:
        trial.set_user_attr(WIDTHS, dict(widths))
    return widths


def has_widths(trial: HasParams, space: WidthSpace) -> bool:
    """Say whether a trial's parameters stand for widths.

    Those of a trial that somebody else ended early, or made by hand, may not.
    """
    try:
        widths_from_params(trial.params, space)
    except ConfigError:
        return False
    return True


def widths_of(trial: HasParams, space: WidthSpace) -> Widths:
    """Return the widths of a trial.

    Parameters of groups inside removed blocks stand for nothing; such groups are taken to be at
    their narrowest, so that one subnet is one choice of widths.

    Raises:
        ConfigError: If a parameter is missing or is not a rung of the space.
    """
    return space.canonical(widths_from_params(trial.params, space))


def widths_from_params(params: Mapping[str, Any], space: WidthSpace) -> Widths:
    """Return the widths that parameters stand for; inverse of :func:`params_of`.

    Raises:
        ConfigError: If a parameter is missing or is not a rung of the space.
    """
    rungs = []
    for name, n_rungs in zip(space.names, space.n_rungs, strict=True):
        rung = params.get(name) if n_rungs > 1 else 1
        if not isinstance(rung, int) or not 1 <= rung <= n_rungs:
            raise ConfigError(f"parameter {name} must be a rung from 1 to {n_rungs}, got {rung}")
        rungs.append(rung - 1)
    return space.from_rungs(rungs)


def params_of(widths: Widths, space: WidthSpace) -> dict[str, int]:
    """Return the parameters that stand for widths.

    Raises:
        ConfigError: If the widths are not of the space.
    """
    return {
        name: rung + 1
        for name, rung, n_rungs in zip(
            space.names, space.to_rungs(widths), space.n_rungs, strict=True
        )
        if n_rungs > 1
    }
