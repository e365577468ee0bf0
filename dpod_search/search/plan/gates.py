"""Gates: what a trial has to pass before its subnet is evaluated.

The cheapest question comes first: is it within the bounds, is it known already, and does it
stand a chance? Each answer carries its reason and goes into the trial's attributes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

from dpod_search.quantities import spell
from dpod_search.records.search import Fate
from dpod_search.search.plan.history import History
from dpod_search.search.plan.history import is_audit
from dpod_search.search.plan.surrogate import SurrogateFitter
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store.attributes import AUDIT
from dpod_search.search.store.attributes import name_prediction
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


@dataclass(frozen=True)
class Question:
    """A trial that wants to pass.

    Args:
        number: The trial's number.
        widths: Its widths.
        footprint: Its footprints by name.
    """

    number: int
    widths: Widths
    footprint: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """A gate's answer.

    Args:
        passed: Whether the trial may go on.
        gate: Name of the gate.
        reason: One readable sentence; empty if there is nothing to say.
        fate: What becomes of the trial if no later gate stops it.
        attributes: More user attributes for the trial.
        values: The objective values, if the gate knows them already.
    """

    passed: bool
    gate: str
    reason: str = ""
    fate: Fate = "evaluated"
    attributes: Mapping[str, float] = field(default_factory=dict)
    values: tuple[float, ...] | None = None


class Gate(Protocol):
    """Lets a trial through, or stops it with a reason."""

    def check(self, question: Question, history: History) -> Verdict:
        """Answer from the trial and the finished trials alone.

        The answer must be a pure function of the arguments, so that a resumed process gives
        the same one.
        """


class ConstraintGate:
    """Stops subnets that are over a bound."""

    name = "constraint"

    def __init__(self, task: SearchTask) -> None:
        self._constraints = task.bounds

    def check(self, question: Question, history: History) -> Verdict:
        """Compare the footprint with every bound."""
        reason = self._constraints.explain(question.footprint)
        return Verdict(
            not reason, self.name, reason, "pruned-constraint" if reason else "evaluated"
        )


class DuplicateGate:
    """Answers subnets that were evaluated before with the values found then."""

    name = "duplicate"

    def check(self, question: Question, history: History) -> Verdict:
        """Look the widths up."""
        earlier = history.find(question.widths)
        if earlier is None:
            return Verdict(True, self.name)
        reason = f"trial {earlier.number} has the same widths"
        return Verdict(False, self.name, reason, "cached", values=earlier.values)


class SurrogateGate:
    """Stops subnets that even an optimistic prediction puts behind the front.

    A small random share of them is evaluated all the same, so that the rate at which good
    subnets are lost is measured and not assumed.

    Args:
        task: The task of the study.
        settings: How much is audited.
        fitter: The study's surrogate.
    """

    name = "surrogate"

    def __init__(
        self, task: SearchTask, settings: SearchSettings, fitter: SurrogateFitter
    ) -> None:
        self._task = task
        self._settings = settings
        self._fitter = fitter

    def check(self, question: Question, history: History) -> Verdict:
        """Predict the subnet and compare it with the front."""
        surrogate = self._fitter.find_surrogate(history)
        is_known = all(map(math.isfinite, question.footprint.values()))
        if surrogate is None or not is_known:
            return Verdict(True, self.name)
        summary = surrogate.summarize(question.widths)
        attributes: dict[str, float] = {}
        optimistic = dict(question.footprint)
        for i, objective in enumerate(self._task.measured):
            mean, low, high = map(float, summary[:, i])
            keys = name_prediction(objective.name)
            attributes.update(zip(keys, (mean, low, high), strict=True))
            optimistic[objective.name] = high if objective.direction == "maximize" else low
        is_audited = is_audit(self._task.seed, question.number, self._settings)
        if is_audited:
            attributes[AUDIT] = True
        if not history.is_beaten([optimistic[o.name] for o in self._task.objectives]):
            return Verdict(True, self.name, attributes=attributes)
        reason = self._explain(optimistic)
        if is_audited:
            return Verdict(True, self.name, f"audit: {reason}", "audited", attributes)
        return Verdict(False, self.name, reason, "pruned-surrogate", attributes)

    def _explain(self, optimistic: Mapping[str, float]) -> str:
        best = " and ".join(
            f"{objective.name} at best {spell(objective.name, optimistic[objective.name])}"
            for objective in self._task.measured
        )
        exact = " and ".join(
            f"{objective.name} {spell(objective.name, optimistic[objective.name])}"
            for objective in self._task.objectives
            if not objective.is_measured
        )
        return f"{best}{' with ' if exact else ''}{exact} is dominated by the front"


def make_gates(
    task: SearchTask, settings: SearchSettings, fitter: SurrogateFitter | None = None
) -> Sequence[Gate]:
    """Return the gates of a study in the order they are asked.

    Args:
        task: The task of the study.
        settings: Its settings.
        fitter: The study's surrogate, if the sampler has one already.
    """
    gates: list[Gate] = [ConstraintGate(task), DuplicateGate()]
    if settings.surrogate and task.measured:
        gates.append(SurrogateGate(task, settings, fitter or SurrogateFitter(task, settings)))
    return gates
