"""The sampler ``nsga2``: NSGA-II for widths, screened by a surrogate, as an ordinary Optuna one.

What Optuna's own lacks: seeds enqueued by the user join the population, no subnet is tried
twice, offspring respect the constraints and are screened before a trial is spent on them, the
cost of a trial does not grow with their number, and a resumed study goes on exactly as it would
have. What it proposes is the planner's; here it only meets Optuna.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import Any

from optuna.samplers import BaseSampler

from dpod_search.search.plan.planner import Planner
from dpod_search.search.samplers.adapting import MAX_OBJECTIVES
from dpod_search.search.samplers.adapting import GroupParameters
from dpod_search.search.samplers.adapting import Parameters
from dpod_search.search.samplers.adapting import StudyView
from dpod_search.search.samplers.adapting import make_plain_task
from dpod_search.search.samplers.reseeding import ReseededGPSampler
from dpod_search.search.samplers.reseeding import ReseededNSGAIISampler
from dpod_search.search.samplers.reseeding import ReseededRandomSampler
from dpod_search.search.samplers.reseeding import ReseededTPESampler
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store.optuna_internals import generation_key_of
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.optuna_internals import study_id_of
from dpod_search.search.store.optuna_internals import trial_id_of
from dpod_search.search.store.optuna_internals import use_nsga2_names
from dpod_search.search.store.space import make_distributions
from dpod_search.search.task import SearchTask


if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


@use_nsga2_names
class WidthNSGAIISampler(ReseededNSGAIISampler):
    """NSGA-II that knows seeds, duplicates, constraints and what to expect of a subnet.

    In a study of integer parameters that nothing else is known of, all values are predicted.
    With parameters that are not all integers, or more than four objectives, it does what
    Optuna's NSGA-II does.

    Args:
        population_size: Completed trials of one generation, >= 2.
        seed: The seed of the study.
        task: What is searched, if it is known beforehand: exact footprints need no prediction,
            and constraints hold for everything proposed.
        settings: How, if it is known; the other arguments give way to it.
        surrogate: Whether offspring are screened.
    """

    def __init__(
        self,
        *,
        population_size: int = 24,
        seed: int = 0,
        task: SearchTask | None = None,
        settings: SearchSettings | None = None,
        surrogate: bool = True,
    ) -> None:
        settings = settings or SearchSettings(population_size=population_size, surrogate=surrogate)
        super().__init__(population_size=settings.population_size, seed=seed)
        self._settings = settings
        self._distributions = None if task is None else make_distributions(task.space)
        self._view: StudyView | None = None
        self.planner = None if task is None else Planner(task, settings)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the task's search space, or the one the finished trials share."""
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
        key = generation_key_of(self)
        generation = trial.system_attrs.get(key)
        if generation is None:
            assert self.population_size is not None
            generation = self._look_at(study).generations.find_current(self.population_size)
            storage_of(study).set_trial_system_attr(trial_id_of(trial), key, generation)
            trial.system_attrs[key] = generation
        return int(generation)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose all parameters of a trial: scattered ones at first, then screened children."""
        view = self._look_at(study)
        view.search(search_space, lambda: self._plan(study, search_space))
        proposed = view.propose(trial.number)
        if proposed is None:
            return super().sample_relative(study, trial, search_space)
        return proposed

    def _look_at(self, study: Study) -> StudyView:
        if self._view is None or self._view.is_of != (storage_of(study), study_id_of(study)):
            self._view = StudyView(study, generation_key_of(self))
        self._view.refresh()
        return self._view

    def _plan(
        self, study: Study, search_space: dict[str, BaseDistribution]
    ) -> tuple[Parameters | GroupParameters | None, Planner | None]:
        if self.planner is not None:
            return GroupParameters(self.planner.task.space), self.planner
        parameters = Parameters.of(search_space)
        if parameters is None or len(study.directions) > MAX_OBJECTIVES:
            return None, None
        task = make_plain_task(parameters.space, study.directions, self._seed)
        return parameters, Planner(task, self._settings)


SAMPLERS: Mapping[str, Callable[[SearchSettings, SearchTask], BaseSampler]] = MappingProxyType(
    {
        "nsga2": lambda settings, task: WidthNSGAIISampler(
            seed=task.seed, task=task, settings=settings
        ),
        "nsga2-plain": lambda settings, task: ReseededNSGAIISampler(
            population_size=settings.population_size, seed=task.seed
        ),
        "tpe": lambda settings, task: ReseededTPESampler(task.seed),
        "gp": lambda settings, task: ReseededGPSampler(task.seed),
        "random": lambda settings, task: ReseededRandomSampler(task.seed),
    }
)


def make_sampler(settings: SearchSettings, task: SearchTask) -> BaseSampler:
    """Make the sampler that a study's settings name."""
    return SAMPLERS[settings.sampler](settings, task)
