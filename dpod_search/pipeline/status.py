"""How far a run is, read from its folder without disturbing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.errors import RunFolderError
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.looking import looking_into
from dpod_search.pipeline.stages.choosing import find_costs
from dpod_search.pipeline.stages.table import STAGES
from dpod_search.pipeline.storage import find_storage
from dpod_search.records.finetuned import Finetuned
from dpod_search.records.front import FinetunedFront
from dpod_search.records.markers import check_run
from dpod_search.records.oneshot import OneShot
from dpod_search.records.search import Search
from dpod_search.records.shrink import Shrink
from dpod_search.search.store.status import count_trials


def read_status(out: Path, storage: str | None = None) -> dict[str, Any]:
    """Describe a run as JSON values.

    Args:
        out: The run folder.
        storage: URL or path of Optuna's storage; None is the one that the folder remembers, or
            the journal in it.

    Returns:
        Study, whether a process works on it, stages whose results are all there, trials by
        state, and what the search found so far.

    Raises:
        RunFolderError: If the folder holds no run.
        CheckpointError: If a file is damaged.
    """
    config_file = out / "config.toml"
    if not config_file.is_file():
        raise RunFolderError(
            f"{out} holds no run; start one with `dpod-search run --study <study> --out {out}`"
        )
    check_run(out)
    config = load_study(config_file)
    folder = RunFolder(out)
    storage = find_storage(out, storage).url
    journal = out / "study.journal"
    has_study = storage is not None or journal.exists()
    trials = count_trials(config.name, storage or str(journal)) if has_study else {}
    stages = {stage.name: folder.is_whole(stage.name) for stage in STAGES}
    # Without the storage in sight it cannot be said that the study is gone.
    stages["search"] &= bool(trials) or not has_study
    with looking_into(out) as is_running:
        pass  # what is read here may be of different moments
    front = None
    if folder.has_ended("finetune"):
        front = FinetunedFront.read_if_there(out)
    status: dict[str, Any] = {
        "study": config.name,
        "folder": str(out),
        "is_running": is_running,
        "stages": stages,
        "trials": trials,
        **_find_limits(config, out, sum(trials.values())),
        "n_finetuned": _count_finetuned(out, front),
    }
    goal = Shrink.read_if_there(out)
    if goal is not None:
        status["goal"] = {"goal": goal.goal, "state": goal.state, "n_tried": len(goal.tried)}
    found = Search.read_if_there(out)
    if found is not None:
        status["counts"], status["audit"] = dict(found.counts), found.audit.to_json()
        status["n_front"] = len(found.front)
    if stages["finetune"] and front is not None:
        status["budgets"], status["costs"] = front.chosen, find_costs(front)
    return status


def _find_limits(config: StudyConfig, out: Path, n_trials: int) -> dict[str, Any]:
    """Say how many trials there will be, and what else may end the search."""
    search = config.search
    if config.oneshot.method:
        # Each budget has a trial, but those with the same widths share one.
        n_due = len(config.oneshot.budgets)
        chosen = OneShot.read_if_there(out)
        if chosen is not None:
            n_due = len({tuple(choice.widths.values()) for choice in chosen.choices})
        # A run may have been at other budgets before.
        return {"n_trials": max(n_due, n_trials), "limits": {}}
    names = ("n_evaluated", "seconds", "stall", "finetune_share")
    limits = {name: getattr(search, name) for name in names if getattr(search, name) is not None}
    # Trials that fill budgets come on top.
    return {"n_trials": max(search.n_trials, n_trials), "limits": limits}


def _count_finetuned(out: Path, front: FinetunedFront | None) -> int:
    # An earlier, larger choice leaves its folders behind; the front names those of the last one.
    if front is not None:
        return len(front.members)
    return len(list((out / "finetuned").glob(f"*/{Finetuned.FILE}")))
