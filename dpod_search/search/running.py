"""One trial from its widths to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from dpod_search.errors import ConfigError
from dpod_search.search import attributes
from dpod_search.search.gates import Question
from dpod_search.search.gates import Verdict
from dpod_search.search.gates import make_gates
from dpod_search.search.history import FinishedTrial
from dpod_search.search.history import History
from dpod_search.search.objectives import to_number
from dpod_search.search.settings import SearchSettings
from dpod_search.search.space import suggest_widths
from dpod_search.search.space import widths_of
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


class TrialRunner:
    """Runs the trials of one study, one after the other.

    Every decision follows from the trial's number and the trials finished before it. A trial
    that was cut off anywhere can therefore be run again from its beginning, under the same
    number, and ends as it would have ended.

    Args:
        study: The study; its finished trials are taken into account.
        task: What it is about.
        settings: How it is searched.
    """

    def __init__(self, study: optuna.Study, task: SearchTask, settings: SearchSettings) -> None:
        self._study = study
        self._task = task
        self._gates = make_gates(task, settings)
        self._history = History(task.directions)
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                self._history.add(_read_finished(trial, task))

    @property
    def n_finished(self) -> int:
        """Number of finished trials of the study."""
        return self._history.n_finished

    def run(self, trial: Trial) -> str:
        """Run a trial that is open, and finish it.

        Args:
            trial: A new trial, or one that an earlier process left behind.

        Returns:
            The trial's fate.

        Raises:
            ConfigError: If an objective is missing or is not a number.
        """
        widths = suggest_widths(trial, self._task.space)
        footprint = self._task.measure_footprint(widths)
        self._describe(trial, footprint)
        verdict = self._ask_gates(Question(trial.number, widths, footprint))
        values = verdict.values
        fate: str = verdict.fate
        reason = verdict.reason
        for key, number in verdict.attributes.items():
            trial.set_user_attr(key, number)
        if verdict.passed:
            values, problem = self._measure(trial, widths, footprint)
            if fate == "audited" and values is not None:
                wrong = not self._history.is_beaten(values)
                trial.set_user_attr(attributes.AUDIT_WRONG, wrong)
            fate, reason = ("failed", problem) if values is None else (fate, reason)
        gate = verdict.gate if verdict.reason else ""
        self._finish(trial, fate, gate, reason, values)
        self._history.add(FinishedTrial(trial.number, widths, fate, footprint, values))
        return fate

    def _describe(self, trial: Trial, footprint: dict[str, float]) -> None:
        others = {
            name: value
            for name, value in footprint.items()
            if name not in {objective.name for objective in self._task.objectives}
        }
        if others:
            trial.set_user_attr(attributes.FOOTPRINT, others)
        violations = self._task.bounds.violations(footprint)
        if violations:
            # Optuna 5 has trial.set_constraint, but what it writes optuna-dashboard 0.21 does
            # not read: every trial would be drawn as feasible. Both understand this key.
            self._study._storage.set_trial_system_attr(
                trial._trial_id, "constraints", list(violations.values())
            )

    def _ask_gates(self, question: Question) -> Verdict:
        for gate in self._gates:
            verdict = gate.check(question, self._history)
            if not verdict.passed:
                break
        return verdict

    def _measure(
        self, trial: Trial, widths: Widths, footprint: dict[str, float]
    ) -> tuple[tuple[float, ...] | None, str]:
        start = time.perf_counter()
        measured = self._task.evaluate(widths) if self._task.measured else {}
        trial.set_user_attr(attributes.SECONDS, time.perf_counter() - start)
        values = []
        for objective in self._task.objectives:
            found = measured if objective.is_measured else footprint
            if objective.name not in found:
                raise ConfigError(f"objective {objective.name} was not measured")
            value = to_number(found[objective.name], objective.name)
            if not math.isfinite(value):
                return None, f"objective {objective.name} is {value}"
            values.append(value)
        return tuple(values), ""

    def _finish(
        self, trial: Trial, fate: str, gate: str, reason: str, values: Sequence[float] | None
    ) -> None:
        trial.set_user_attr(attributes.FATE, fate)
        if gate:
            trial.set_user_attr(attributes.GATE, gate)
        if reason:
            trial.set_user_attr(attributes.REASON, reason)
        state = TrialState.COMPLETE if values is not None else TrialState.PRUNED
        self._study.tell(trial, values, TrialState.FAIL if fate == "failed" else state)


def _read_finished(trial: FrozenTrial, task: SearchTask) -> FinishedTrial:
    widths = widths_of(trial, task.space)
    values = tuple(trial.values) if trial.state == TrialState.COMPLETE else None
    fate = trial.user_attrs.get(attributes.FATE, "failed")
    return FinishedTrial(trial.number, widths, fate, task.measure_footprint(widths), values)
