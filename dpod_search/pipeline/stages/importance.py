"""The importance of a run's units, measured once and kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dpod_search.data import SeededLoader
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.files import hash_value
from dpod_search.footprint import tabulate_footprint
from dpod_search.importance import TaskLoss
from dpod_search.importance import UnitImportance
from dpod_search.importance import measure_unit_importance
from dpod_search.latency.model import NAME as LATENCY
from dpod_search.pipeline.session import Session
from dpod_search.programs import WidthTables
from dpod_search.records.importance import Importance
from dpod_search.records.importance import Seed
from dpod_search.records.importance import Seeds
from dpod_search.records.markers import check_file
from dpod_search.search import Proposal
from dpod_search.search import SearchTask
from dpod_search.supernet import Supernet


def measure_importance(session: Session, supernet: Supernet, criterion: str) -> UnitImportance:
    """Measure importance on training pictures, not augmented, in the order of the seed."""
    loader = SeededLoader(
        session.data.train,
        batch_size=min(session.config.training.batch_size, len(session.data.train)),
        seed=session.seed,
        shuffle=True,
    )
    return measure_unit_importance(
        supernet,
        loader,
        criterion=criterion,
        n_batches=session.config.oneshot.n_batches,
        loss=TaskLoss(session.task),
    )


def find_importance(session: Session, criterion: str = "taylor") -> UnitImportance:
    """Return the importance of the units of the trained supernet.

    It is measured once and kept in the run folder, so that whoever goes on with the run, perhaps
    on another machine, chooses the same widths.
    """
    key = _find_key(session, criterion)
    with suppress(CheckpointError):  # it is measured anew
        check_file(session.path, Importance.FILE, "importance")
        kept = Importance.read_if_there(session.path)
        if kept is not None and kept.key == key:
            return UnitImportance.from_json(kept.to_json())
    found = measure_importance(session, session.supernet, criterion)
    if not session.is_guest:
        with session.folder.noting("importance", Importance.FILE):
            Importance(key=key, **found.to_json()).write(session.path)
    return found


def _find_key(session: Session, criterion: str) -> str:
    return hash_value(
        {
            "weights": session.weights,
            "data": session.data.fingerprint,
            "seed": session.seed,
            "criterion": criterion,
            "n_batches": session.config.oneshot.n_batches,
            "batch_size": session.config.training.batch_size,
            **session.describe_task(),
        }
    )


def keep_seeds(
    session: Session,
    task: SearchTask,
    propose: Callable[[WidthTables], list[Proposal]],
    criterion: str = "taylor",
) -> list[Proposal]:
    """Return seeds that are proposed for the importance of units, kept in the run folder."""
    search = session.config.search
    key = hash_value(
        {
            "importance": _find_key(session, criterion),
            "path": session.folder.require_hash("path.json", "train"),
            "settings": [search.n_ladder, search.n_mdp],
            "objectives": [objective.name for objective in task.objectives],
            "constraints": dict(task.constraints),
            "provenance": dict(task.provenance),
        }
    )
    with suppress(CheckpointError, ConfigError):  # they are proposed anew
        check_file(session.path, Seeds.FILE, "seeds")
        kept = Seeds.read_if_there(session.path)
        if kept is not None and kept.key == key:
            return [Proposal(task.space.make(x.widths), x.source) for x in kept.seeds]
    seeds = propose(make_tables(session, find_importance(session, criterion)))
    if not session.is_guest:
        told = tuple(Seed(source=each.source, widths=dict(each.widths)) for each in seeds)
        with session.folder.noting("seeds", Seeds.FILE):
            Seeds(key=key, seeds=told).write(session.path)
    return seeds


def make_tables(session: Session, importance: UnitImportance) -> WidthTables:
    """Return what the width programs of a run are made of."""
    costs = dict(tabulate_footprint(session.blank_supernet))
    if session.latency is not None:
        costs[LATENCY] = (session.latency.sum_ms,)
    return WidthTables(importance.tabulate(session.blank_supernet.space), costs)
