"""A search whose answers are known: closed-form accuracy instead of a supernet."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from optuna.storages import BaseStorage

from dpod_search.programs import WidthTables
from dpod_search.rng import numpy_generator
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import SearchResult
from dpod_search.search import SearchSettings
from dpod_search.search import SearchTask
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import run_study
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


ACCURACY = Objective("accuracy", "maximize", lambda subnet: 0.0)


class ChainFootprint:
    """A chain of 1x1 convolutions, each group feeding the next."""

    def measure(self, widths: Widths) -> dict[str, int]:
        ends = (3, *widths.active, 10)
        params = sum(a * b for a, b in pairwise(ends))
        return {"macs": 64 * params, "params": params, "weight_bytes": 4 * params}


class ChainTable(ChainFootprint):
    """The same chain, which also knows many subnets at once, as the real footprint model does."""

    def table(self, widths: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.pad(widths, ((0, 0), (1, 1)))
        ends[:, 0], ends[:, -1] = 3, 10
        params = (ends[:, :-1] * ends[:, 1:]).sum(axis=1)
        return {"macs": 64 * params, "params": params, "weight_bytes": 4 * params}


def make_space(n_groups: int = 4, n_rungs: int = 8) -> WidthSpace:
    names = tuple(f"group{i}" for i in range(n_groups))
    return WidthSpace.from_ratios(
        {name: 16 * (1 + i % 3) for i, name in enumerate(names)},
        [i / n_rungs for i in range(1, n_rungs + 1)],
    )


def make_tables(space: WidthSpace) -> WidthTables:
    """What the chain of the fakes costs, and an importance with falling returns."""
    widths = [np.array(rungs, dtype=float) for rungs in space.rungs]
    last = len(widths) - 1
    params = [
        TableTerm((0,), 3 * widths[0]),
        *(TableTerm((i, i + 1), np.outer(a, b)) for i, (a, b) in enumerate(pairwise(widths))),
        TableTerm((last,), 10 * widths[last]),
    ]
    value = [TableTerm((i,), np.sqrt(w / w[-1]) / (1 + i)) for i, w in enumerate(widths)]
    total = TableSum.of(params)
    costs = {"macs": (total.scale(64),), "params": (total,)}
    return WidthTables(TableSum.of(value), costs)


def compute_accuracy(widths: Widths, space: WidthSpace) -> float:
    """Rise with every width, but not equally: later groups matter less."""
    ratios = [w / rungs[-1] for w, rungs in zip(widths.active, space.rungs, strict=True)]
    weights = [1 / (1 + i) for i in range(len(ratios))]
    loss = sum(w * math.exp(-3 * r) for w, r in zip(weights, ratios, strict=True))
    bottleneck = 0.2 * (1 - min(ratios)) ** 2
    return 1 - 0.5 * loss / sum(weights) - bottleneck


def make_task(
    space: WidthSpace | None = None,
    *,
    constraints: Mapping[str, str] | None = None,
    seed: int = 0,
    objectives: tuple[Objective, ...] | None = None,
) -> SearchTask:
    space = space or make_space()
    return SearchTask(
        space,
        objectives or (ACCURACY, Macs()),
        ChainFootprint(),
        lambda widths: {"accuracy": compute_accuracy(widths, space)},
        constraints or {},
        seed,
    )


def finish(
    task: SearchTask, number: int, widths: Widths, fate: str = "evaluated"
) -> FinishedTrial:
    """Evaluate a subnet and return the trial that a study would make of it."""
    footprint = task.measure_footprint(widths)
    known = {**footprint, **task.evaluate(widths)}
    violations = task.bounds.violations(known).values()
    return FinishedTrial(
        number,
        widths,
        fate,
        footprint,
        tuple(float(known[objective.name]) for objective in task.objectives),
        violation=sum(max(0.0, violation) for violation in violations),
    )


def sample_trials(task: SearchTask, n: int, seed: int = 0) -> list[FinishedTrial]:
    """Return n evaluated trials whose widths are drawn from all of the space."""
    rng = numpy_generator(seed, "trials")
    return [finish(task, number, task.space.sample(rng)) for number in range(n)]


def make_history(task: SearchTask, trials: list[FinishedTrial]) -> History:
    """Return the history of a study in which these trials finished, in this order."""
    history = History(task.directions)
    for trial in trials:
        history.add(trial)
    return history


SHORT = SearchSettings(n_trials=8, surrogate=False)


def search(storage: str | Path | BaseStorage | None) -> SearchResult:
    """Search for eight trials, or read what was found."""
    task = make_task()
    study = open_study("s", storage, task.objectives, make_sampler(SHORT, task))
    return run_study(study, task, SHORT)


def damage_trials(file: Path) -> None:
    """Overwrite the first page of the trials of an SQLite database; it can still be opened."""
    with sqlite3.connect(file) as mine:
        mine.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = mine.execute("PRAGMA page_size").fetchone()
        found = mine.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'")
        (page,) = found.fetchone()
    mine.close()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(bytes(size))
