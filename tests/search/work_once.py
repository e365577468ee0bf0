"""Be one worker of a study, to be killed."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection

import optuna
from search import fakes

from dpod_search.search import ProposalRequest
from dpod_search.search import SearchResult
from dpod_search.search import SearchSettings
from dpod_search.search import SearchTask
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study
from dpod_search.search.worker.crew import join_crew


STUDY = "shared"


def make_shared_task(n_groups: int = 8, n_rungs: int = 8) -> SearchTask:
    return fakes.make_task(fakes.make_space(n_groups, n_rungs))


def make_settings(n_trials: int, sampler: str = "nsga2") -> SearchSettings:
    return SearchSettings(n_trials=n_trials, population_size=16, surrogate=False, sampler=sampler)


def work(
    storage: str | None,
    log: str | None,
    n_trials: int,
    sampler: str,
    *,
    seconds: float = 0.02,
    **space: int,
) -> SearchResult:
    """Search a study to its end.

    Args:
        storage: Where it is.
        log: A file to which every evaluation adds a line, ``<process> <widths>``, as it begins.
        n_trials: Its trials.
        sampler: Its sampler.
        seconds: What an evaluation takes if it is logged.
        **space: What it searches, as :func:`make_shared_task` takes it.
    """
    task = make_shared_task(**space)
    evaluate = task.evaluate

    def evaluate_and_tell(widths):
        if log is not None:
            line = f"{os.getpid()} {','.join(map(str, widths.active))}\n"
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, line.encode())
            os.close(descriptor)
            time.sleep(seconds)
        return evaluate(widths)

    task = replace(task, evaluate=evaluate_and_tell)
    settings = make_settings(n_trials, sampler)
    seeds = propose_seeds(ProposalRequest(task, settings))
    study = open_study(STUDY, storage, task.objectives, make_sampler(settings, task))
    return run_study(study, task, settings, seeds, is_shared=log is not None)


def hold_the_lock(storage: str, study_name: str, tell: Connection) -> None:
    """Join the workers of a study, tell under which id, and keep the study's lock for good."""
    study = optuna.load_study(
        study_name=study_name,
        storage=open_storage(storage),
        sampler=optuna.samplers.RandomSampler(),
    )
    with join_crew(study) as crew, crew.lock():
        tell.send(crew.me)
        threading.Event().wait()
