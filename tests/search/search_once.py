"""Run one search in a process of its own, to be killed: ``search_once.py JOURNAL [SAMPLER]``."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from search import fakes

from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study


def main(storage: str, sampler: str) -> None:
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
    sys.stdout.write("started\n")
    sys.stdout.flush()
    run_study(study, task, settings, seeds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "nsga2")
