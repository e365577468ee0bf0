"""Every subnet of a small supernet, evaluated once and kept: what ``search_supernet.py`` searches.

The supernet is that of ``run --study digits`` with five rungs a group and blocks that stay, hence
six groups and 15,625 subnets. Trained and evaluated by the package's own stages, so that a number
in the table is the number that a search on the supernet would have been given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel
from joblib import delayed
from width_table import WidthTable

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.searching import make_search_task
from dpod_search.progress import SilentProgress
from dpod_search.search import SearchTask
from dpod_search.widths import IntArray
from dpod_search.widths import Widths


CHANGES = ("supernet.ratios=[0.2, 0.4, 0.6, 0.8, 1.0]", "supernet.removes_blocks=false")
N_CHUNKS = 100


@dataclass(frozen=True)
class SupernetTable:
    """A supernet's subnets, all of them.

    Args:
        table: Their accuracy on the validation split, and their footprints.
        path: The profiles of progressive shrinking, shape (n, n_groups), in channels.
    """

    table: WidthTable
    path: IntArray

    @property
    def profiles(self) -> list[Widths]:
        """The path as widths of the table's space."""
        return [Widths(self.table.space.names, tuple(w)) for w in self.path.tolist()]


def find_table(cache: Path, jobs: int, log: Callable[[str], None]) -> SupernetTable:
    """Read the table from a folder, or train the supernet and evaluate all its subnets.

    Args:
        cache: The folder; made if it is missing. Delete it to start anew.
        jobs: Processes that evaluate.
        log: Told how far it is.

    Returns:
        The table and the path.
    """
    folder = cache / "supernet"
    # An ended training is left alone, and a changed study file is an error that says so.
    run_stages(_load(), folder, stages=("train",))
    path = read_json(folder / "path.json")["profiles"]
    profiles = np.array([list(profile["widths"].values()) for profile in path])
    file = cache / "subnets.npz"
    if not file.exists():
        _evaluate_all(folder, jobs, log).save(file)
    return SupernetTable(WidthTable.load(file), profiles)


def _load() -> StudyConfig:
    return load_study("digits", CHANGES)


def _evaluate_all(folder: Path, jobs: int, log: Callable[[str], None]) -> WidthTable:
    task = _open_task(folder)
    active = list(product(*task.space.rungs))
    widths = [Widths(task.space.names, a) for a in active]
    footprints = [task.measure_footprint(w) for w in widths]
    chunks = np.array_split(np.array(active), N_CHUNKS)
    calls = (delayed(_evaluate_some)(folder, chunk) for chunk in chunks)
    accuracy: list[float] = []
    start = time.perf_counter()
    for found in Parallel(n_jobs=jobs, return_as="generator")(calls):
        accuracy += found
        log(f"{len(accuracy)} of {len(active)} subnets, {time.perf_counter() - start:.0f} s")
    return WidthTable(
        np.array(active, dtype=np.int64),
        np.array(accuracy),
        np.array([footprint["macs"] for footprint in footprints], dtype=np.int64),
        np.array([footprint["params"] for footprint in footprints], dtype=np.int64),
    )


def _evaluate_some(folder: Path, active: IntArray) -> list[float]:
    torch.set_num_threads(1)
    task = _open_task(folder)
    names = task.space.names
    return [task.evaluate(Widths(names, tuple(a)))["accuracy"] for a in active.tolist()]


@lru_cache(maxsize=1)
def _open_task(folder: Path) -> SearchTask:
    logging.disable(logging.WARNING)
    # Only read, hence without the folder's lock.
    session = Session(_load(), RunFolder(folder), SilentProgress())
    return make_search_task(session, session.supernet)
