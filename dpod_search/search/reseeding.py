"""Samplers that draw the same numbers for a trial in whatever process it runs.

Optuna's samplers carry a generator from trial to trial, so a study that is resumed goes
another way than one that was never stopped. Here the generator of every trial, and of every
parameter drawn by itself, follows from the seed of the study alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from dpod_search.rng import derive_seed


if TYPE_CHECKING:
    import numpy as np
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class ReseededRandomSampler(RandomSampler):
    """Optuna's random sampler, drawing by trial number.

    Args:
        seed: The seed of the study.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed % 2**32)
        self._seed = seed

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        # By name, because a trial that was cut off may hold some of its parameters already.
        reseed(self._rng.rng, self._seed, trial.number, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)


class ReseededTPESampler(TPESampler):
    """Optuna's TPE sampler, drawing by trial number.

    Args:
        seed: The seed of the study.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed % 2**32)
        self._random_sampler = ReseededRandomSampler(seed)
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set the generator for the parameters that are drawn together."""
        super().before_trial(study, trial)
        reseed(self._rng.rng, self._seed, trial.number)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        reseed(self._rng.rng, self._seed, trial.number, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)


class ReseededNSGAIISampler(NSGAIISampler):
    """Optuna's NSGA-II sampler, drawing by trial number; base of the one for widths.

    Args:
        population_size: Completed trials of one generation.
        seed: The seed of the study.
    """

    def __init__(self, *, population_size: int = 24, seed: int = 0) -> None:
        super().__init__(population_size=population_size, seed=seed % 2**32)
        self._random_sampler = ReseededRandomSampler(seed)
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set the generator for the parameters that are drawn together."""
        super().before_trial(study, trial)
        reseed(self._rng.rng, self._seed, trial.number)


def reseed(rng: np.random.RandomState, seed: int, *names: str | int) -> None:
    """Set a sampler's generator from the seed of the study and what it is used for."""
    rng.seed(derive_seed(seed, "sampler", *names) % 2**32)
