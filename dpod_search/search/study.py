"""A study from its first seed to its last trial, across as many processes as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import Trial
from optuna.trial import TrialState

from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import attributes
from dpod_search.search.identity import bind_study
from dpod_search.search.identity import check_objectives_of
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import check_objectives
from dpod_search.search.objectives import to_number
from dpod_search.search.proposals import Proposal
from dpod_search.search.proposals import keep_first
from dpod_search.search.quiet import quiet_optuna
from dpod_search.search.results import SearchResult
from dpod_search.search.results import collect_result
from dpod_search.search.results import find_values
from dpod_search.search.running import TrialRunner
from dpod_search.search.settings import SearchSettings
from dpod_search.search.space import params_of
from dpod_search.search.storage import load_or_create_study
from dpod_search.search.storage import open_storage
from dpod_search.search.task import SearchTask


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


def run_study(
    study: optuna.Study,
    task: SearchTask,
    settings: SearchSettings,
    seeds: Sequence[Proposal] = (),
    progress: Progress | None = None,
) -> SearchResult:
    """Run a study until ``settings.n_trials`` of its trials are finished.

    A study that was cut off, even by ``kill -9``, goes on where it was: the trial it was in is
    taken over under its number and with its parameters, and all trials come out as they would
    have in one go. One process at a time may do this.

    Args:
        study: The study, from :func:`open_study`.
        task: What it is about.
        settings: How to search.
        seeds: Subnets to try first, in this order; repeated ones are dropped.
        progress: Told of every finished trial.

    Returns:
        What the study has found. A finished study is left alone and only read.

    Raises:
        ConfigError: If a constraint cannot be read, or an objective gives no number.
        InfeasibleError: If not even the smallest subnet meets the constraints.
        RunFolderError: If the study was made for another task.
    """
    progress = progress or SilentProgress()
    seeds = keep_first(seeds)
    task.bounds.check_reachable(task.measure_footprint(task.space.smallest))
    bind_study(study, task, settings, seeds)
    enqueue_seeds(study, task, seeds[: settings.n_trials])
    runner = TrialRunner(study, task, settings)
    progress.start("search", settings.n_trials, runner.n_finished)
    try:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            progress.advance(1, runner.run(Trial(study, trial._trial_id)))
        while runner.n_finished < settings.n_trials:
            progress.advance(1, runner.run(study.ask()))
    finally:
        progress.finish()
    _measure_full(study, task)
    return collect_result(study, task)


def enqueue_seeds(study: optuna.Study, task: SearchTask, seeds: Sequence[Proposal]) -> None:
    """Put seeds in the queue as trials 0, 1, ...; those that are there already are left.

    Args:
        study: The study.
        task: The task; its space says what the parameters are.
        seeds: The seeds, without repetition and in a fixed order.

    Raises:
        ConfigError: If the widths of a seed are not of the space.
    """
    # Seeds are the first trials of a study, so the number of trials tells how many are there.
    n_there = len(study.get_trials(deepcopy=False))
    for seed in seeds[n_there:]:
        study.enqueue_trial(
            params_of(seed.widths, task.space),
            user_attrs={
                attributes.SOURCE: seed.source,
                attributes.WIDTHS: dict(seed.widths),
            },
        )


def _measure_full(study: optuna.Study, task: SearchTask) -> None:
    # Everything is judged against the full net, which a constraint may keep out of the trials.
    full = task.space.full
    if attributes.FULL in study.user_attrs or not task.measured:
        return
    if find_values(collect_result(study, task).trials, full):
        return
    measured = task.evaluate(full)
    values = {o.name: to_number(measured[o.name], o.name) for o in task.measured}
    study.set_user_attr(attributes.FULL, values)
