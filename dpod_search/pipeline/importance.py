"""The importance of a run's units, measured once and kept."""

from __future__ import annotations

from collections.abc import Callable

from dpod_search.data import SeededLoader
from dpod_search.errors import DpodSearchError
from dpod_search.files import hash_value
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.footprint import tabulate_footprint
from dpod_search.importance import UnitImportance
from dpod_search.importance import measure_unit_importance
from dpod_search.latency.model import NAME as LATENCY
from dpod_search.pipeline.session import Session
from dpod_search.programs import WidthTables
from dpod_search.search import Proposal
from dpod_search.search import SearchTask
from dpod_search.supernet import Supernet


FILE = "importance.json"
SEEDS = "seeds.json"


def measure_importance(session: Session, supernet: Supernet, criterion: str) -> UnitImportance:
    """Measure importance on training pictures, not augmented, in the order of the seed."""
    loader = SeededLoader(
        session.data.train,
        batch_size=min(session.config.training.batch_size, len(session.data.train)),
        seed=session.seed,
        shuffle=True,
    )
    return measure_unit_importance(
        supernet, loader, criterion=criterion, n_batches=session.config.oneshot.n_batches
    )


def find_importance(session: Session, criterion: str = "taylor") -> UnitImportance:
    """Return the importance of the units of the trained supernet.

    It is measured once and kept in the run folder, so that whoever goes on with the run, perhaps
    on another machine, chooses the same widths.
    """
    path = session.path / FILE
    key = _find_key(session, criterion)
    if path.is_file():
        try:
            kept = read_json(path)
            if kept["key"] == key:
                return UnitImportance.from_json(kept)
        except (DpodSearchError, KeyError, TypeError, ValueError):
            pass  # it is measured anew
    found = measure_importance(session, session.supernet, criterion)
    if not session.is_guest:
        write_json(path, {"key": key, **found.to_json()})
    return found


def _find_key(session: Session, criterion: str) -> str:
    return hash_value(
        {
            "weights": session.folder.require_hash("supernet.safetensors", "train"),
            "data": session.data.fingerprint,
            "seed": session.seed,
            "criterion": criterion,
            "n_batches": session.config.oneshot.n_batches,
            "batch_size": session.config.training.batch_size,
        }
    )


def keep_seeds(
    session: Session,
    task: SearchTask,
    propose: Callable[[WidthTables], list[Proposal]],
    criterion: str = "taylor",
) -> list[Proposal]:
    """Return seeds that are proposed for the importance of units, kept in the run folder."""
    path = session.path / SEEDS
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
    try:
        kept = read_json(path) if path.is_file() else {}
        if kept.get("key") == key:
            return [Proposal(task.space.make(x["widths"]), x["source"]) for x in kept["seeds"]]
    except (DpodSearchError, AttributeError, KeyError, TypeError, ValueError):
        pass  # they are proposed anew
    seeds = propose(make_tables(session, find_importance(session, criterion)))
    if not session.is_guest:
        told = [{"source": seed.source, "widths": dict(seed.widths)} for seed in seeds]
        write_json(path, {"key": key, "seeds": told})
    return seeds


def make_tables(session: Session, importance: UnitImportance) -> WidthTables:
    """Return what the width programs of a run are made of."""
    costs = dict(tabulate_footprint(session.blank_supernet))
    if session.latency is not None:
        costs[LATENCY] = (session.latency.sum_ms,)
    return WidthTables(importance.tabulate(session.blank_supernet.space), costs)
