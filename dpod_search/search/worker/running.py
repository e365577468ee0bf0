"""One trial from its widths to its end. No storage is in sight."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager

from optuna.trial import TrialState

from dpod_search.errors import ConfigError
from dpod_search.errors import ObjectiveError
from dpod_search.search.objectives import to_number
from dpod_search.search.plan.gates import Question
from dpod_search.search.plan.gates import Verdict
from dpod_search.search.plan.gates import make_gates
from dpod_search.search.plan.history import History
from dpod_search.search.plan.surrogate import SurrogateFitter
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import attributes
from dpod_search.search.task import SearchTask
from dpod_search.search.worker.draft import Draft


class TrialRunner:
    """Runs trials: asks the gates, evaluates the subnet, says what became of it.

    Every decision follows from the trial's number and the trials finished before it. A trial
    that was cut off anywhere can therefore be run again from its beginning, under the same
    number, and ends as it would have ended.

    Args:
        task: What the study is about.
        settings: How it is searched.
        fitter: The study's surrogate, if its sampler has one already.
    """

    def __init__(
        self, task: SearchTask, settings: SearchSettings, fitter: SurrogateFitter | None = None
    ) -> None:
        self._task = task
        self._gates = make_gates(task, settings, fitter)

    def decide(self, draft: Draft, history: History) -> bool:
        """Ask the gates whether a trial's subnet is to be evaluated.

        Args:
            draft: The trial; it has ended if the answer is no.
            history: What is known so far.

        Raises:
            ObjectiveError: If a user's own footprint raises; names the trial.
        """
        with _naming(draft):
            footprint = self._task.measure_footprint(draft.widths)
        self._describe(draft, footprint)
        verdict = self._ask_gates(Question(draft.number, draft.widths, footprint), history)
        draft.user.update(verdict.attributes)
        draft.fate = verdict.fate
        # Whoever had the trial before and died may have been given another reason.
        if verdict.reason or attributes.REASON in draft.user:
            draft.user[attributes.GATE] = verdict.gate
            draft.user[attributes.REASON] = verdict.reason
        if not verdict.passed:
            self._end(draft, footprint, verdict.values)
        return verdict.passed

    def evaluate(self, draft: Draft) -> Mapping[str, float]:
        """Measure a trial's subnet; return what was found, by objective.

        Raises:
            ObjectiveError: If an objective raises; names the trial.
        """
        start = time.perf_counter()
        if self._task.full_values and draft.widths == self._task.space.full:
            found: Mapping[str, float] = self._task.full_values  # it was measured before all
        else:
            with _naming(draft):
                found = self._task.evaluate(draft.widths) if self._task.measured else {}
        draft.user[attributes.SECONDS] = time.perf_counter() - start
        return found

    def conclude(self, draft: Draft, measured: Mapping[str, float], history: History) -> None:
        """End a trial whose subnet was measured.

        Args:
            draft: The trial.
            measured: What was found, by objective.
            history: What is known so far.

        Raises:
            ConfigError: If an objective is missing or is not a number.
        """
        footprint = self._task.measure_footprint(draft.widths)
        values, problem = self._gather(measured, footprint)
        if values is None:
            draft.fate = "failed"
            draft.user[attributes.REASON] = problem
        elif draft.fate == "audited":
            # What is beyond a measured bound would not have joined the front either.
            is_feasible = self._task.bounds.are_met(self._name_all(footprint, values))
            draft.user[attributes.AUDIT_WRONG] = is_feasible and not history.is_beaten(values)
        self._end(draft, footprint, values)

    def _describe(self, draft: Draft, footprint: Mapping[str, float]) -> None:
        names = {objective.name for objective in self._task.objectives}
        others = {name: value for name, value in footprint.items() if name not in names}
        if others:
            draft.user[attributes.FOOTPRINT] = others
        self._note_violations(draft, footprint)

    def _note_violations(self, draft: Draft, known: Mapping[str, float]) -> None:
        violations = self._task.bounds.violations(known)
        if violations:
            # Optuna 5 has trial.set_constraint, but what it writes optuna-dashboard 0.21 does
            # not read: every trial would be drawn as feasible. Both understand this key.
            draft.system[attributes.VIOLATIONS] = list(violations.values())

    def _ask_gates(self, question: Question, history: History) -> Verdict:
        for gate in self._gates:
            verdict = gate.check(question, history)
            if not verdict.passed:
                break
        return verdict

    def _gather(
        self, measured: Mapping[str, float], footprint: Mapping[str, float]
    ) -> tuple[tuple[float, ...] | None, str]:
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

    def _name_all(
        self, footprint: Mapping[str, float], values: Sequence[float]
    ) -> dict[str, float]:
        names = (objective.name for objective in self._task.objectives)
        return {**footprint, **dict(zip(names, values, strict=True))}

    def _end(
        self, draft: Draft, footprint: Mapping[str, float], values: Sequence[float] | None
    ) -> None:
        draft.user[attributes.FATE] = draft.fate
        if values is not None:
            self._note_violations(draft, self._name_all(footprint, values))
            draft.values = tuple(map(float, values))
            draft.state = TrialState.COMPLETE
        else:
            failed = draft.fate == "failed"
            draft.state = TrialState.FAIL if failed else TrialState.PRUNED


@contextmanager
def _naming(draft: Draft) -> Iterator[None]:
    try:
        yield
    except ObjectiveError as error:
        raise ObjectiveError(f"trial {draft.number}: {error}") from error.__cause__
