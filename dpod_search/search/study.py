"""A study from its first seed to its last trial, across as many processes as it takes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.callbacks import Callbacks
from dpod_search.errors import CheckpointError
from dpod_search.files import hash_value
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search.identity import bind_study
from dpod_search.search.identity import check_objectives_of
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import check_objectives
from dpod_search.search.objectives import to_number
from dpod_search.search.results import SearchResult
from dpod_search.search.results import collect_result
from dpod_search.search.results import find_values
from dpod_search.search.seeds import Proposal
from dpod_search.search.seeds import keep_first
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import attributes
from dpod_search.search.store import load_or_create_study
from dpod_search.search.store import open_storage
from dpod_search.search.store import telling_database_errors
from dpod_search.search.store.optuna_internals import ENQUEUED
from dpod_search.search.store.optuna_internals import read_study_attrs
from dpod_search.search.store.optuna_internals import write_study_attr
from dpod_search.search.store.quiet import quiet_optuna
from dpod_search.search.store.space import params_of
from dpod_search.search.task import SearchTask
from dpod_search.search.worker.crew import join_crew
from dpod_search.search.worker.driving import Driver


@telling_database_errors()
def open_study(
    name: str,
    storage: str | Path | BaseStorage | None,
    objectives: Sequence[Objective],
    sampler: BaseSampler,
) -> optuna.Study:
    """Create a study, or load it if the storage has it.

    Args:
        name: Name of the study.
        storage: As for :func:`~dpod_search.search.open_storage`.
        objectives: Names and directions of the values.
        sampler: Always given: Optuna does not store it, and would take another one.

    Returns:
        The study, its values named after the objectives.

    Raises:
        ConfigError: If the storage cannot be opened, or the objectives are not valid.
        CheckpointError: If a journal is damaged.
        RunFolderError: If the study was made for other objectives.
    """
    names = [objective.name for objective in check_objectives(objectives)]
    directions = [objective.direction for objective in objectives]
    study = load_or_create_study(name, open_storage(storage), directions, sampler)
    check_objectives_of(study, objectives)
    if study.metric_names != names:
        with quiet_optuna():
            study.set_metric_names(names)
    return study


@telling_database_errors()
def run_study(
    study: optuna.Study,
    task: SearchTask,
    settings: SearchSettings,
    seeds: Sequence[Proposal] = (),
    progress: Progress | None = None,
    *,
    callbacks: Callbacks | None = None,
    is_shared: bool = False,
    closing: Callable[[SearchResult], Sequence[Proposal]] | None = None,
) -> SearchResult:
    """Run a study until its settings say that it ends.

    A study that was cut off, even by ``kill -9``, goes on where it was: the trial it was in is
    run again under its number and with its parameters, and all trials come out as they would
    have in one go. Several processes may do this at the same time if the study is kept in a
    journal, in SQLite or in PostgreSQL; each returns when the search ends and no trial is left
    that has not ended.

    Args:
        study: The study, from :func:`open_study`.
        task: What it is about.
        settings: How to search.
        seeds: Subnets to try first, in this order; repeated ones are dropped.
        progress: Told of every finished trial.
        callbacks: Told of every trial that this process finishes.
        is_shared: Other processes are expected to work on the study: every trial is written
            when it begins and when it ends, and not with others.
        closing: Names subnets to evaluate in the end, besides the trials that the settings allow
            and whatever the surrogate says of them, from what was found. Those that it has named
            must not change what it names.

    Returns:
        What the study has found. A finished study is left alone and only read.

    Raises:
        ConfigError: If a constraint cannot be read, or an objective gives no number.
        InfeasibleError: If not even the smallest subnet meets the constraints.
        RunFolderError: If the study was made for another task.
    """
    seeds = _make_canonical(keep_first(seeds), task)
    task.check_reachable()
    with join_crew(study) as crew:
        with crew.lock():
            bind_study(study, task, settings, seeds)
            if task.needs_full:
                task = task.with_full(_measure_full(study, task))
        progress = progress or SilentProgress()
        if closing is None or not _is_closing(_find_open(study)):
            Driver(
                study,
                task,
                settings,
                seeds=seeds,
                crew=crew,
                progress=progress,
                callbacks=callbacks,
                is_shared=is_shared,
            ).drive()
        if closing is not None:
            with crew.lock():
                found = collect_result(study, task)
                n_open = _enqueue(study, task, found, closing(found))
            if n_open:
                last = settings.for_given(len(found.trials) + n_open)
                Driver(
                    study, task, last, seeds=(), crew=crew, progress=progress, callbacks=callbacks
                ).drive()
        with crew.lock():
            if task.measured and not _knows_full(study, task):
                _measure_full(study, task)
        return collect_result(study, task)


def _find_open(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))


def _is_closing(opened: Sequence[FrozenTrial]) -> bool:
    """Say whether a study was cut off in its closing trials: the search itself has ended."""
    return any(trial.user_attrs.get(attributes.CLOSING) for trial in opened)


def _enqueue(
    study: optuna.Study, task: SearchTask, found: SearchResult, proposals: Sequence[Proposal]
) -> int:
    """Put subnets in the queue that were neither measured nor are in it; return its length."""
    tried = {trial.widths for trial in found.trials if trial.values or trial.fate == "failed"}
    opened = _find_open(study)
    queued = [trial.system_attrs.get(ENQUEUED) for trial in opened]
    n_new = 0
    for proposal in _make_canonical(keep_first(proposals), task):
        params = params_of(proposal.widths, task.space)
        if proposal.widths not in tried and params not in queued:
            marks = {attributes.SOURCE: proposal.source, attributes.CLOSING: True}
            study.enqueue_trial(params, user_attrs=marks)
            n_new += 1
    return len(opened) + n_new if n_new or _is_closing(opened) else 0


def _make_canonical(seeds: Sequence[Proposal], task: SearchTask) -> list[Proposal]:
    for seed in seeds:
        params_of(seed.widths, task.space)  # complains of widths of another space
    return keep_first([replace(seed, widths=task.space.canonical(seed.widths)) for seed in seeds])


def _read_full(study: optuna.Study) -> Mapping[str, float] | None:
    """Return what is known of the full net, after a look whether it is what was written."""
    known: Mapping[str, float] | None = study.user_attrs.get(attributes.FULL)
    noted = read_study_attrs(study).get(attributes.FULL_HASH)
    if known is not None and noted not in (None, hash_value(known)):
        raise CheckpointError(
            f"what study {study.study_name} tells of the full net is not what the search wrote; "
            "restore the study from a copy, or delete it to search again"
        )
    return known


def _knows_full(study: optuna.Study, task: SearchTask) -> bool:
    if _read_full(study) is not None:
        return True
    return bool(find_values(collect_result(study, task).trials, task.space.full))


def _measure_full(study: optuna.Study, task: SearchTask) -> Mapping[str, float]:
    """Measure the full net, which a constraint may keep out of the trials; once a study."""
    known = _read_full(study)
    if known is None:
        measured = task.evaluate(task.space.full)
        known = {o.name: to_number(measured[o.name], o.name) for o in task.measured}
        task.with_full(known)  # what no percentage can be of is told of before it is kept
        study.set_user_attr(attributes.FULL, known)
        write_study_attr(study, attributes.FULL_HASH, hash_value(known))
    return dict(known)
