"""Samplers that draw the same numbers for a trial in whatever process it runs.

Optuna's samplers carry a generator from trial to trial, so a study that is resumed goes
another way than one that was never stopped. Here the generator of every trial, and of every
parameter drawn by itself, follows from the seed of the study alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from optuna.samplers import GPSampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from dpod_search.rng import derive_seed
from dpod_search.search.store.optuna_internals import draw_alone_with
from dpod_search.search.store.optuna_internals import forget_kernels
from dpod_search.search.store.optuna_internals import generator_of
from dpod_search.search.store.optuna_internals import read_drawn
from dpod_search.search.store.optuna_internals import use_nsga2_names


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
        reseed(generator_of(self), self._seed, trial.number, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)


class ReseededTPESampler(TPESampler):
    """Optuna's TPE sampler, drawing by trial number.

    Args:
        seed: The seed of the study.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed % 2**32)
        draw_alone_with(self, ReseededRandomSampler(seed))
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set the generator for the parameters that are drawn together."""
        super().before_trial(study, trial)
        reseed(generator_of(self), self._seed, trial.number)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        reseed(generator_of(self), self._seed, trial.number, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)


class ReseededGPSampler(GPSampler):
    """Optuna's Gaussian process sampler, drawing by trial number.

    A trial takes about a second once there are some hundred, and their third power after that.

    Args:
        seed: The seed of the study.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(
            seed=seed % 2**32,
            independent_sampler=ReseededRandomSampler(seed),
            # Parameters that only some trials have are drawn alone; that needs no remark a trial.
            warn_independent_sampling=False,
        )
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set the generator, and forget the kernels fitted for the trial before."""
        super().before_trial(study, trial)
        reseed(generator_of(self), self._seed, trial.number)
        # Optuna starts each fit from the last one's kernels, which a resumed process lacks.
        forget_kernels(self)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters of a trial, or read what an earlier process drew for it."""
        # Optuna leaves what it draws with the trial, for other workers to see. Drawn again, the
        # trial would count as one of them and be kept away from its own parameters.
        drawn = read_drawn(trial)
        if search_space and search_space.keys() <= drawn.keys():
            return {name: drawn[name] for name in search_space}
        return super().sample_relative(study, trial, search_space)


@use_nsga2_names
class ReseededNSGAIISampler(NSGAIISampler):
    """Optuna's NSGA-II sampler, drawing by trial number; base of the one for widths.

    Nothing else is changed: enqueued trials do not join its population, and it repeats itself.

    Args:
        population_size: Completed trials of one generation.
        seed: The seed of the study.
    """

    def __init__(self, *, population_size: int = 24, seed: int = 0) -> None:
        super().__init__(population_size=population_size, seed=seed % 2**32)
        draw_alone_with(self, ReseededRandomSampler(seed))
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set the generator for the parameters that are drawn together."""
        super().before_trial(study, trial)
        reseed(generator_of(self), self._seed, trial.number)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the parents of a generation, in the order of their numbers."""
        # Optuna returns them in another order the first time, which a resumed process would
        # not see again.
        parents = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda trial: trial.number)


def reseed(rng: np.random.RandomState, seed: int, *names: str | int) -> None:
    """Set a sampler's generator from the seed of the study and what it is used for."""
    rng.seed(derive_seed(seed, "sampler", *names) % 2**32)
