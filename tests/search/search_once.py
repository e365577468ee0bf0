"""One search, in a process of its own or in this one, to be killed."""

from __future__ import annotations

import time
from dataclasses import replace
from multiprocessing.synchronize import Event

from search import fakes

from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study


def search_here(storage: str, sampler: str, started: Event | None = None) -> None:
    """Search in this process; tell ``started`` when the study is open."""
    settings = SearchSettings(
        n_trials=50,
        population_size=12,
        min_evaluated=15,
        audit_share=0.3,
        sampler=sampler,
    )
    task = fakes.make_task(constraints={"macs": "<= 60%"})
    evaluate = task.evaluate

    def evaluate_slowly(widths):
        time.sleep(0.005)
        return evaluate(widths)

    task = replace(task, evaluate=evaluate_slowly)
    seeds = propose_seeds(ProposalRequest(task, settings))
    study = open_study("killed", storage, task.objectives, make_sampler(settings, task))
    if started is not None:
        started.set()
    run_study(study, task, settings, seeds)
