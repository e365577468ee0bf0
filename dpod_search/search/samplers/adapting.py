"""An ordinary study of integer parameters, as the planner wants to see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.errors import ConfigError
from dpod_search.search.objectives import Objective
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.plan.planner import Planner
from dpod_search.search.store.attributes import FATE
from dpod_search.search.store.database_table import open_table
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.optuna_internals import study_id_of
from dpod_search.search.store.space import params_of
from dpod_search.search.store.space import widths_from_params
from dpod_search.search.store.trial_table import Generations
from dpod_search.search.store.trial_table import TrialTable
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


MAX_OBJECTIVES = 4


class Parameters:
    """Integer parameters as groups of a space whose widths count their values from 1.

    Args:
        distributions: By name.
    """

    def __init__(self, distributions: Mapping[str, IntDistribution]) -> None:
        self._distributions = dict(distributions)
        self.space = WidthSpace(
            tuple(distributions),
            tuple(tuple(range(1, (d.high - d.low) // d.step + 2)) for d in distributions.values()),
        )

    @classmethod
    def of(cls, distributions: Mapping[str, BaseDistribution]) -> Parameters | None:
        """Return the parameters if all are evenly spaced integers, else None."""
        integers = {
            name: distribution
            for name, distribution in distributions.items()
            if isinstance(distribution, IntDistribution) and not distribution.log
        }
        is_lattice = distributions and len(integers) == len(distributions)
        return cls(integers) if is_lattice else None

    def to_widths(self, params: Mapping[str, Any]) -> Widths | None:
        """Return what a trial's parameters stand for; None if one is missing or elsewhere."""
        indices = []
        for name, d in self._distributions.items():
            value = params.get(name)
            if not isinstance(value, int) or value not in range(d.low, d.high + 1, d.step):
                return None
            indices.append((value - d.low) // d.step)
        return self.space.from_rungs(indices)

    def to_params(self, widths: Widths) -> dict[str, int]:
        """Return the parameters that widths stand for; inverse of :meth:`to_widths`."""
        return {
            name: d.low + d.step * (width - 1)
            for (name, d), width in zip(self._distributions.items(), widths.active, strict=True)
        }


class GroupParameters:
    """The parameters of a task: rung numbers of its channel groups.

    Args:
        space: The task's space.
    """

    def __init__(self, space: WidthSpace) -> None:
        self.space = space

    def to_widths(self, params: Mapping[str, Any]) -> Widths | None:
        """Return what a trial's parameters stand for; None if one is missing or elsewhere."""
        try:
            return self.space.canonical(widths_from_params(params, self.space))
        except ConfigError:
            return None

    def to_params(self, widths: Widths) -> dict[str, int]:
        """Return the parameters that widths stand for."""
        return params_of(widths, self.space)


class _NoFootprint:
    def measure(self, widths: Widths) -> dict[str, float]:
        return {}


def make_plain_task(space: WidthSpace, directions: list[StudyDirection], seed: int) -> SearchTask:
    """Make the task of a study of which nothing is known but its parameters.

    Args:
        space: The parameters.
        directions: Of the study's values, one to four.
        seed: Of every random choice.
    """
    objectives = tuple(
        # Not one of them is known before a trial has run.
        Objective(f"value {i}", _name_direction(direction), lambda subnet: 0.0)
        for i, direction in enumerate(directions)
    )
    return SearchTask(space, objectives, _NoFootprint(), lambda widths: {}, seed=seed)


class StudyView:
    """A study as its sampler sees it: each trial is read once.

    Args:
        study: The study.
        generation_key: System attribute in which a trial carries its generation.
    """

    def __init__(self, study: optuna.Study, generation_key: str) -> None:
        self._generation_key = generation_key
        self._table: TrialTable = open_table(study)
        self._finished: list[FrozenTrial] = []
        self._unfinished: list[FrozenTrial] = []
        self.generations = Generations()
        self._space: Mapping[str, BaseDistribution] = {}
        self._n_known = 0
        self.is_of = (storage_of(study), study_id_of(study))
        self._parameters: Parameters | GroupParameters | None = None
        self._planner: Planner | None = None

    def refresh(self) -> None:
        """Take in what has happened since the last call."""
        fresh = self._table.read()
        self._unfinished = [trial for trial in fresh if not trial.state.is_finished()]
        for trial in fresh:
            if trial.state.is_finished():
                self._finished.append(trial)
                generation = trial.system_attrs.get(self._generation_key)
                if trial.state == TrialState.COMPLETE and generation is not None:
                    self.generations.note_completed(generation)

    def search(
        self,
        space: Mapping[str, BaseDistribution],
        look: Callable[[], tuple[Parameters | GroupParameters | None, Planner | None]],
    ) -> None:
        """Look at the study through these parameters from now on.

        Args:
            space: The parameters.
            look: Called if they are others than before: what they stand for, and who plans.
        """
        if space != self._space:
            self._space = dict(space)
            self._parameters, self._planner = look()
            self._n_known = 0

    def propose(self, number: int) -> dict[str, int] | None:
        """Return the parameters of a trial, or None if they are not what a planner knows.

        Args:
            number: Of the trial; of the unfinished ones, those count that were begun before.
        """
        if self._parameters is None or self._planner is None:
            return None
        if self._n_known == 0:
            self._history = History(self._planner.task.directions)
        for trial in self._finished[self._n_known :]:
            widths = self._parameters.to_widths(trial.params)
            if widths is not None:
                self._history.add(_make_finished(trial, widths, self._planner.task))
        self._n_known = len(self._finished)
        for trial in self._unfinished:
            widths = self._parameters.to_widths(trial.params)
            if widths is not None and trial.number < number:
                self._history.start(trial.number, widths)
        return self._parameters.to_params(self._planner.propose(number, self._history))


def _make_finished(trial: FrozenTrial, widths: Widths, task: SearchTask) -> FinishedTrial:
    # Optuna admits infinite values; nothing can be learned from them.
    is_complete = trial.state == TrialState.COMPLETE and all(map(math.isfinite, trial.values))
    return FinishedTrial(
        trial.number,
        widths,
        trial.user_attrs.get(FATE, "evaluated" if is_complete else "failed"),
        task.measure_footprint(widths),
        tuple(trial.values) if is_complete else None,
        violation=sum(max(0.0, v) for v in trial.constraints.values()),
    )


def _name_direction(direction: StudyDirection) -> Any:
    if direction == StudyDirection.NOT_SET:
        raise ConfigError("the study has no direction; create it with directions=")
    return direction.name.lower()
