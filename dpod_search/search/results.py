"""What a study has found, read from its finished trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.records.search import FATES
from dpod_search.search.candidate import Candidate
from dpod_search.search.front import Front
from dpod_search.search.store import attributes
from dpod_search.search.store.optuna_internals import GENERATION
from dpod_search.search.store.signatures import hash_trials
from dpod_search.search.store.space import has_widths
from dpod_search.search.store.space import widths_of
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Args:
        number: Its number.
        fate: What became of it.
        source: Who proposed it.
        generation: Its generation, or None for samplers that have none.
        widths: Its widths.
        values: Its objective values by name; empty unless it completed.
        footprint: Its footprints by name.
        predictions: For each objective that was predicted: mean, low, high.
        reason: Why it was pruned, cached, audited or failed.
        seconds: How long its evaluation took, or the whole trial if it was not evaluated.
        is_audit: Whether it was to be evaluated whatever the surrogate says of it; if that is
            that it should be pruned, its fate is ``audited``.
        audit_wrong: For an audited trial, whether pruning it would have been wrong.
    """

    number: int
    fate: str
    source: str
    generation: int | None
    widths: Widths
    values: Mapping[str, float]
    footprint: Mapping[str, float]
    predictions: Mapping[str, tuple[float, float, float]]
    reason: str
    seconds: float
    is_audit: bool
    audit_wrong: bool | None


@dataclass(frozen=True)
class SearchResult:
    """All that a study has found.

    Args:
        study: Name of the study.
        space: The widths that were searched.
        constraints: The bounds as they were spelled.
        trials: The finished trials by number.
        front: The Pareto front of the feasible ones.
        full: Objectives and footprints of the full net by name.
        footprint_names: The footprints that the model knows, in its order.
        n_finished: Number of finished trials, those too that are no widths.
        trials_hash: The hash of all that these tell.
    """

    study: str
    space: WidthSpace
    constraints: Mapping[str, str]
    trials: tuple[TrialRecord, ...]
    front: Front
    full: Mapping[str, float]
    footprint_names: tuple[str, ...]
    n_finished: int = 0
    trials_hash: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials of each fate."""
        found = Counter(trial.fate for trial in self.trials)
        return {fate: found[fate] for fate in FATES}


def collect_result(study: optuna.Study, task: SearchTask) -> SearchResult:
    """Read the result of a study.

    Args:
        study: The study, finished or not.
        task: The task it answers.

    Returns:
        What its finished trials say. The full net's measured values are missing from ``full``
        until a trial, or the end of the search, has measured them.
    """
    finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    records = tuple(_read_record(t, task) for t in finished if has_widths(t, task.space))
    full = dict(study.user_attrs.get(attributes.FULL, {}))
    full.update(find_values(records, task.space.full))
    # Last, because Optuna keeps values as floats and footprints are exact.
    full.update(task.measure_footprint(task.space.full))
    return SearchResult(
        study.study_name,
        task.space,
        {bound.name: bound.text for bound in task.bounds.bounds},
        records,
        _make_front(records, task, full),
        full,
        task.footprint_names,
        len(finished),
        hash_trials(finished),
    )


def find_values(records: tuple[TrialRecord, ...], widths: Widths) -> Mapping[str, float]:
    """Return the objective values of a subnet, or nothing if no trial completed with it."""
    found = (record.values for record in records if record.values and record.widths == widths)
    return next(found, {})


def _read_record(trial: FrozenTrial, task: SearchTask) -> TrialRecord:
    widths = widths_of(trial, task.space)
    known = trial.user_attrs
    values = trial.values if trial.state == TrialState.COMPLETE else []
    names = [objective.name for objective in task.objectives]
    duration = trial.duration.total_seconds() if trial.duration else 0.0
    return TrialRecord(
        number=trial.number,
        fate=known.get(attributes.FATE, "failed"),
        source=known.get(attributes.SOURCE, attributes.SAMPLER_SOURCE),
        generation=trial.system_attrs.get(GENERATION),
        widths=widths,
        values=dict(zip(names, values, strict=False)),
        footprint=task.measure_footprint(widths),
        predictions=attributes.read_predictions(known, (o.name for o in task.measured)),
        reason=known.get(attributes.REASON, ""),
        seconds=known.get(attributes.SECONDS, duration),
        is_audit=known.get(attributes.AUDIT, False),
        audit_wrong=known.get(attributes.AUDIT_WRONG),
    )


def _make_front(
    records: tuple[TrialRecord, ...], task: SearchTask, full: Mapping[str, float]
) -> Front:
    first: dict[Widths, TrialRecord] = {}
    for record in records:
        if record.values and task.bounds.are_met({**record.footprint, **record.values}):
            first.setdefault(record.widths, record)
    complete = list(first.values())
    if not complete:
        return Front((), task.objectives, full)
    values = np.array([[r.values[o.name] for o in task.objectives] for r in complete])
    on_front = find_front(to_minimized(values, task.directions))
    members = [
        Candidate(r.number, r.widths, r.values, r.footprint)
        for r, is_on_front in zip(complete, on_front, strict=True)
        if is_on_front
    ]
    return Front(tuple(members), task.objectives, full)
