"""The problems of ``mdp_seeds.py``: what is searched, the width tables of it, and its scores.

Two of them: the published NATS-Bench table with the importance of a net trained briefly, and the
supernet of the shipped study ``digits``, trained anew for every seed, whose front nobody knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from nats_data import ARCHIVE
from nats_data import unpack_pictures
from nats_net import FULL_WIDTHS
from nats_net import HANDLERS
from nats_net import N_CLASSES
from nats_net import RATIOS
from nats_net import build_full_net
from nats_study import make_study
from width_table import Scores
from width_table import WidthTable

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.errors import DataError
from dpod_search.evaluation import calibrate
from dpod_search.files import read_json
from dpod_search.footprint.tabulating import tabulate_footprint
from dpod_search.importance import UnitImportance
from dpod_search.importance import measure_unit_importance
from dpod_search.pareto import FloatArray
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.searching import make_search_task
from dpod_search.programs import WidthTables
from dpod_search.progress import SilentProgress
from dpod_search.search import SearchTask
from dpod_search.supernet import build_supernet
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.tabulated import Tabulated
from dpod_search.tabulated import add_tables
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


NATS = "nats_sss_cifar10.npz"
# Gives scores by name for networks by their widths.
Measure = Callable[[Sequence[Sequence[int]]], dict[str, float]]

N_BATCHES = 16  # of 128 pictures, that importance is measured on
BATCH_SIZE = 128


@dataclass(frozen=True, eq=False)
class Problem:
    """One search problem.

    Args:
        name: What the page calls it.
        task: The task; its seed is that of the search.
        importance: Of the units of its supernet.
        costs: Its footprints as sums of tables.
        path: The profiles that come first in ``run``; none without a path.
        measure: Gives the scores of some networks; None where not every network is known.
    """

    name: str
    task: SearchTask
    importance: UnitImportance
    costs: Tabulated
    path: Sequence[Widths] = ()
    measure: Measure | None = None

    def tabulate(self, transform: Callable[[UnitImportance, WidthSpace], TableSum]) -> WidthTables:
        """Return the width tables with one way to turn importance into value."""
        return WidthTables(transform(self.importance, self.task.space), self.costs)


@dataclass(frozen=True, eq=False)
class Pool:
    """All networks that any search evaluated, where nobody has evaluated them all.

    Args:
        accuracy: In [0, 1], shape (n,).
        macs: Shape (n,).
    """

    accuracy: FloatArray
    macs: FloatArray


def score_pool(known: Mapping[tuple[int, ...], tuple[float, float]]) -> Measure:
    """Return what scores networks against the best of a pool.

    Args:
        known: Accuracy and macs of all in the pool, by widths.
    """
    values = np.array(list(known.values()))
    # Of a table the scores read these two columns only.
    scores = Scores(cast(WidthTable, Pool(values[:, 0], values[:, 1])))
    return _measure_with(scores, {active: row for row, active in enumerate(known)})


def _measure_with(scores: Scores, rows: Mapping[tuple[int, ...], int]) -> Measure:
    return lambda found: scores.of(np.array([rows[tuple(a)] for a in found], dtype=np.int64))


def open_nats(data_root: Path, kept: Path) -> Problem:
    """Read the published table; train a net of its kind briefly for the importance of its units.

    Args:
        data_root: Folder of the table and of the pictures.
        kept: Where pictures and weights are kept.
    """
    table = WidthTable.load(data_root / NATS)
    study = make_nats_study(unpack_pictures(data_root / ARCHIVE, kept))
    run_stages(study, kept / "nats", stages=("train",))
    importance = measure_importance(open_session(study, kept / "nats"))
    rows = {tuple(active): row for row, active in enumerate(table.channels.tolist())}
    measure = _measure_with(Scores(table), rows)
    costs = tabulate_nats(table)
    return Problem("NATS-Bench", table.make_task(0), importance, costs, measure=measure)


def make_nats_study(pictures: Path) -> StudyConfig:
    """Shorten the training of ``nats_supernet.py`` to one epoch of small batches."""
    study = make_study("cpu", pictures, threads=1)
    return replace(study, training=replace(study.training, epochs=1, batch_size=64))


def tabulate_nats(table: WidthTable) -> Tabulated:
    """Write the published macs as sums of tables.

    Raises:
        DataError: If these are not the published ones.
    """
    supernet = build_supernet(
        build_full_net(),
        torch.zeros(2, 3, 32, 32),
        ratios=RATIOS,
        removes_blocks=False,
        handlers=HANDLERS,
    )
    # What the published networks save, as nats_net.count_published has it.
    saved = [TableTerm((), np.array(float(N_CLASSES)))]
    for before, after, shrunk in ((1, 2, 2), (3, 4, 4)):
        assert FULL_WIDTHS[before] == FULL_WIDTHS[after]
        channels = np.array(table.space.rungs[after], dtype=float)
        saved.append(TableTerm((before, after), -np.diag(channels**2 * (32 // shrunk) ** 2)))
    (macs,) = tabulate_footprint(supernet)["macs"]
    total = add_tables([macs, TableSum(tuple(saved))])
    rungs = [
        table.space.to_rungs(Widths(table.space.names, tuple(w))) for w in table.channels.tolist()
    ]
    if not np.array_equal(total.at(rungs), table.macs):
        raise DataError("the tables of the rebuilt network do not give the published macs")
    return {"macs": (total,)}


def open_digits(seed: int, kept: Path) -> Problem:
    """Train the supernet of the shipped study with a seed, unless it was, and make its task."""
    study = load_study("digits", (f"seed={seed}",))
    folder = kept / f"digits-{seed}"
    run_stages(study, folder, stages=("train",))
    session = open_session(study, folder)
    importance = measure_importance(session)
    task = make_search_task(session, session.supernet)
    # The same subnet gives the same number, whichever search asks for it.
    evaluate = cache(task.evaluate)
    profiles = read_json(folder / "path.json")["profiles"]
    path = [task.space.make(profile["widths"]) for profile in profiles]
    return Problem(
        "digits",
        replace(task, evaluate=evaluate),
        importance,
        tabulate_footprint(session.supernet),
        path,
    )


def open_session(study: StudyConfig, folder: Path) -> Session:
    """Open a run folder to read it, hence without its lock."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    return Session(study, RunFolder(folder), SilentProgress())


def measure_importance(session: Session) -> UnitImportance:
    """Measure Taylor importance on the full net of a trained supernet, calibrated as that."""
    supernet = session.supernet
    with supernet.active(supernet.space.full):
        calibrate(supernet, session.calibration_images)
    return measure_unit_importance(
        supernet, session.training_loader(BATCH_SIZE), n_batches=N_BATCHES
    )
