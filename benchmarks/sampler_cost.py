"""What a trial costs beside its evaluation, from ask to tell, as a study grows.

    python benchmarks/sampler_cost.py

Twenty groups of eight rungs, population size 50, in memory and in a journal, SQLite (with its
write-ahead log) and PostgreSQL (a server of its own for the length of the run; its processor time
is not counted, only the client's). Our sampler beside Optuna's own NSGA-II in an ordinary study, and
our driver, ``run_study``. Writes ``benchmarks/results/sampler_cost.json`` and
``docs/sampler-cost.md``. Times are processor milliseconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from statistics import median
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler
from optuna.samplers import NSGAIISampler
from postgres_server import ServerUnavailableError
from postgres_server import serving_postgres
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from sampler_cost_page import write_page
from sampler_task import N_GROUPS
from sampler_task import make_task
from trial_filling import fill_study
from trial_filling import make_trials
from trial_filling import measure

from dpod_search.search import SearchSettings
from dpod_search.search import SearchTask
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import run_study
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import widths_from_params
from dpod_search.search.worker.crew import join_crew


POPULATION_SIZE = 50
SIZES = (0, 1000, 5000, 10_000)
N_WARM = 10  # trials before those that are timed; the first one reads the whole study
N_TIMED = 100
STORAGES = ("memory", "journal", "sqlite", "postgresql")
OURS, OPTUNA, DRIVER = "nsga2", "Optuna", "run_study"
DRIVER_SURROGATE, DRIVER_SHARED = "run_study, surrogate", "run_study, shared"
WAYS = {
    "memory": (OURS, OPTUNA, DRIVER, DRIVER_SURROGATE),
    "journal": (OURS, OPTUNA, DRIVER, DRIVER_SURROGATE, DRIVER_SHARED),
    "sqlite": (OURS, OPTUNA, DRIVER, DRIVER_SHARED),
    "postgresql": (OURS, OPTUNA, DRIVER, DRIVER_SHARED),
}
RESULTS = ROOT / "benchmarks" / "results" / "sampler_cost.json"


@dataclass
class Clock:
    """A progress that notes the processor time whenever a trial has ended."""

    stamps: list[float] = field(default_factory=list)

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Note when the first trial begins."""
        self.stamps.append(time.process_time())

    def advance(self, n: int = 1, note: str = "") -> None:
        """Note the end of trials."""
        self.stamps += [time.process_time()] * n

    def finish(self) -> None:
        """Nothing is left to note."""


def time_study(task: SearchTask, study: optuna.Study) -> list[float]:
    """Ask and tell trials of an ordinary study; return the seconds of each."""
    distributions = dict(make_distributions(task.space))
    seconds = []
    for _ in range(N_WARM + N_TIMED):
        start = time.process_time()
        trial = study.ask(distributions)
        asked = time.process_time()
        values = measure(task, widths_from_params(trial.params, task.space))
        measured = time.process_time()
        study.tell(trial, values)
        seconds.append(asked - start + time.process_time() - measured)
    return seconds[N_WARM:]


def time_driver(
    task: SearchTask, study: optuna.Study, settings: SearchSettings, n: int
) -> list[float]:
    """Run trials by ``run_study``; return the seconds of each, its evaluation included."""
    clock = Clock()
    # Two generations are timed: whatever is written once a generation is in them twice.
    run_study(study, task, settings, progress=clock)
    assert len(clock.stamps) > N_WARM + N_TIMED, f"only {len(clock.stamps)} trials after {n}"
    seconds = [b - a for a, b in pairwise(clock.stamps)]
    return seconds[N_WARM : N_WARM + N_TIMED]


def measure_way(storage: str, url: str, way: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Time one way of making trials on one storage, at all sizes of the study."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = make_task()
    found = []
    for n in sizes:
        settings = SearchSettings(
            n_trials=1 + n + N_WARM + N_TIMED,
            population_size=POPULATION_SIZE,
            surrogate=way == DRIVER_SURROGATE,
            n_ladder=0,
        )
        sampler: BaseSampler = (
            NSGAIISampler(population_size=POPULATION_SIZE, seed=0)
            if way == OPTUNA
            else make_sampler(settings, task)
        )
        study = open_study(f"{way} {n}", _place(storage, url, f"{n}"), task.objectives, sampler)
        is_driver = way not in (OURS, OPTUNA)
        if is_driver:
            # A study that it has not begun itself is refused.
            run_study(study, task, replace(settings, n_trials=1))
        fill_study(study, make_trials(task, n, POPULATION_SIZE))
        # Another worker that does nothing: the driver writes every trial at once, for it to see.
        with join_crew(study) if way == DRIVER_SHARED else nullcontext():
            seconds = (
                time_driver(task, study, settings, n) if is_driver else time_study(task, study)
            )
        found.append(
            {
                "storage": storage,
                "way": way,
                "n": n,
                "median_ms": 1e3 * median(seconds),
                "mean_ms": 1e3 * fmean(seconds),
            }
        )
        del study, sampler
    return found


def _place(storage: str, url: str, name: str) -> str | None:
    if storage == "memory":
        return None
    return f"{url}-{name}.journal" if storage == "journal" else url


def open_places(
    names: Sequence[str], stack: ExitStack
) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Prepare storages, and say of each where a way's studies go.

    Raises:
        ServerUnavailableError: When PostgreSQL's turn comes and it cannot be started.
    """
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dpod-sampler-cost-"))
    for name in names:
        if name == "postgresql":
            url = stack.enter_context(serving_postgres())
            yield name, lambda way, url=url: url
        elif name == "sqlite":
            yield name, lambda way: f"sqlite:///{folder}/{_to_file(way)}.db"
        else:
            yield name, lambda way: f"{folder}/{_to_file(way)}"


def _to_file(way: str) -> str:
    return way.replace(", ", "-")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storages", default=",".join(STORAGES))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Measure and write the results and the page."""
    options = parse_options()
    sizes = [int(size) for size in options.sizes.split(",")]
    console = Console(soft_wrap=True)
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        places = open_places(options.storages.split(","), stack)
        # A process for each, so that none inherits what another has left in memory.
        pool = stack.enter_context(ProcessPoolExecutor(1, context, max_tasks_per_child=1))
        try:
            for storage, find_place in places:
                for way in WAYS[storage]:
                    call = pool.submit(measure_way, storage, find_place(way), way, sizes)
                    for row in call.result():
                        rows.append(row)
                        console.print(row)
        except ServerUnavailableError as error:
            skipped["postgresql"] = str(error)
            console.print(f"postgresql is left out: {error}")
    results = {
        "machine": describe_machine(),
        "commit": describe_commit(),
        "load": load,
        "population_size": POPULATION_SIZE,
        "n_groups": N_GROUPS,
        "n_timed": N_TIMED,
        "sizes": sizes,
        "skipped": skipped,
        "rows": rows,
    }
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.results == RESULTS:
        write_page(results)


if __name__ == "__main__":
    main()
