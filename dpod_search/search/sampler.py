"""NSGA-II for widths, as an ordinary Optuna sampler.

What Optuna's own lacks: seeds enqueued by the user join the population, no subnet is tried
twice, offspring respect the constraints, and a resumed study goes on exactly as it would have.

References:
    Deb, Pratap, Agarwal, Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II, 2002, doi 10.1109/4235.996017.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection

from dpod_search.rng import numpy_generator
from dpod_search.search.ledger import TrialLedger
from dpod_search.search.reseeding import ReseededNSGAIISampler
from dpod_search.search.reseeding import ReseededRandomSampler
from dpod_search.search.reseeding import ReseededTPESampler
from dpod_search.search.settings import SearchSettings
from dpod_search.search.space import make_distributions
from dpod_search.search.space import widths_from_params
from dpod_search.search.task import SearchTask
from dpod_search.search.variation import breed
from dpod_search.search.variation import find_new
from dpod_search.search.variation import order_parents
from dpod_search.widths import IntArray


if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class WidthNSGAIISampler(ReseededNSGAIISampler):
    """NSGA-II that knows seeds, duplicates and constraints.

    With parameters that are not all integers it does what Optuna's NSGA-II does.

    Args:
        population_size: Completed trials of one generation, >= 2.
        seed: The seed of the study.
        distributions: The search space, if it is known beforehand; else it is inferred from
            the finished trials, as Optuna does.
        is_allowed: Says of parameters whether they are within the constraints; narrower
            parameters must never be worse.
    """

    def __init__(
        self,
        *,
        population_size: int = 24,
        seed: int = 0,
        distributions: Mapping[str, IntDistribution] | None = None,
        is_allowed: Callable[[dict[str, int]], bool] | None = None,
    ) -> None:
        super().__init__(population_size=population_size, seed=seed)
        self._distributions = distributions
        self._is_allowed = is_allowed
        self._ledger = TrialLedger(self._get_generation_key())

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the search space given, or the one the finished trials share."""
        if self._distributions is not None:
            return dict(self._distributions)
        return super().infer_relative_search_space(study, trial)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give every trial its generation, also one whose parameters were enqueued."""
        super().before_trial(study, trial)
        # Optuna writes the generation when it samples; for enqueued trials it never does,
        # and they would not become parents.
        self.get_trial_generation(study, trial)

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """Return the generation of a trial, and write it down if it is new."""
        key = self._get_generation_key()
        generation = trial.system_attrs.get(key)
        if generation is None:
            self._ledger.refresh(study)
            assert self.population_size is not None
            generation = self._ledger.find_generation(self.population_size)
            study._storage.set_trial_system_attr(trial._trial_id, key, generation)
            trial.system_attrs[key] = generation
        return int(generation)

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the completed trials of a generation."""
        self._ledger.refresh(study)
        return list(self._ledger.completed.get(generation, ()))

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the parents of a generation, in the order of their numbers."""
        self._ledger.refresh(study)
        parents = self._ledger.parents.get(generation)
        if parents is None:
            found = super().get_parent_population(study, generation)
            # Optuna returns them in another order the first time, which a resumed process
            # would not see again.
            parents = sorted(found, key=lambda trial: trial.number)
            self._ledger.parents[generation] = parents
        return parents

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose all parameters of a trial: random in generation 0, then offspring."""
        lattice = _Lattice.of(search_space)
        if lattice is None:
            return super().sample_relative(study, trial, search_space)
        parents = self.get_parent_population(study, self.get_trial_generation(study, trial))
        rng = numpy_generator(self._seed, "sampler", trial.number)
        tried = self._ledger.collect_vectors(lattice.names, trial.number)
        vector = find_new(
            _make_draw(lattice, parents, study.directions, rng),
            lattice.sizes,
            lambda vector: lattice.to_values(vector) not in tried,
            lambda vector: self._is_allowed is None or self._is_allowed(lattice.to_params(vector)),
            rng,
        )
        return lattice.to_params(vector)


# Optuna gives every subclass attribute names of its own. With those of NSGA-II the dashboard
# and Optuna's sampler read what this one has written. They can only be set after the class.
WidthNSGAIISampler._GENERATION_KEY = NSGAIISampler._GENERATION_KEY
WidthNSGAIISampler._PARENT_CACHE_KEY_PREFIX = NSGAIISampler._PARENT_CACHE_KEY_PREFIX


def make_sampler(settings: SearchSettings, task: SearchTask) -> BaseSampler:
    """Make the sampler that a study's settings name."""
    if settings.sampler == "tpe":
        return ReseededTPESampler(task.seed)
    if settings.sampler == "random":
        return ReseededRandomSampler(task.seed)
    return WidthNSGAIISampler(
        population_size=settings.population_size,
        seed=task.seed,
        distributions=make_distributions(task.space),
        is_allowed=lambda params: task.is_feasible(widths_from_params(params, task.space)),
    )


class _Lattice:
    """Integer parameters as vectors that count from 0."""

    def __init__(self, space: Mapping[str, IntDistribution]) -> None:
        self.names = tuple(space)
        self._low = [distribution.low for distribution in space.values()]
        self._step = [distribution.step for distribution in space.values()]
        self.sizes: IntArray = np.array(
            [(d.high - d.low) // d.step + 1 for d in space.values()], dtype=np.int64
        )

    @classmethod
    def of(cls, space: Mapping[str, BaseDistribution]) -> _Lattice | None:
        integers = {
            name: distribution
            for name, distribution in space.items()
            if isinstance(distribution, IntDistribution) and not distribution.log
        }
        return cls(integers) if space and len(integers) == len(space) else None

    def to_values(self, vector: IntArray) -> tuple[int, ...]:
        pairs = zip(self._low, self._step, vector.tolist(), strict=True)
        return tuple(low + step * index for low, step, index in pairs)

    def to_params(self, vector: IntArray) -> dict[str, int]:
        return dict(zip(self.names, self.to_values(vector), strict=True))

    def to_vectors(self, trials: list[FrozenTrial]) -> IntArray:
        values = np.array([[trial.params[name] for name in self.names] for trial in trials])
        return np.asarray((values - self._low) // self._step)


def _make_draw(
    lattice: _Lattice,
    parents: list[FrozenTrial],
    directions: list[StudyDirection],
    rng: np.random.Generator,
) -> Callable[[], IntArray]:
    if not parents:
        return lambda: rng.integers(lattice.sizes)
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
    points = np.array([trial.values for trial in parents]) * signs
    penalties = [sum(max(0.0, v) for v in trial.constraints.values()) for trial in parents]
    places = order_parents(points, np.array(penalties))
    vectors = lattice.to_vectors(parents)
    return lambda: breed(vectors, places, lattice.sizes, rng)
