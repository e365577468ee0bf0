"""Who is told of a run while it goes on: the loggers of its study, and what each stage came to."""

from __future__ import annotations

from pathlib import Path

from dpod_search.callbacks import Callbacks
from dpod_search.config import StudyConfig
from dpod_search.config import flatten
from dpod_search.loggers import make_loggers
from dpod_search.records.front import FinetunedFront
from dpod_search.records.search import Search
from dpod_search.records.training import Training


LOGS = "logs"


def open_callbacks(config: StudyConfig, out: Path, *, worker: int | None = None) -> Callbacks:
    """Make the loggers of a study; none of them writes before there is something to tell.

    Args:
        config: The study.
        out: Its run folder.
        worker: The number of another process than the one that runs the stages, which logs into a
            folder of its own.

    Raises:
        ConfigError: If one of them cannot be made.
    """
    folder = out / LOGS if worker is None else out / LOGS / f"worker-{worker}"
    settings = flatten(config)
    return make_loggers(config.logging.loggers, folder, name=config.name, settings=settings)


def describe_ended(stage: str, run: Path) -> dict[str, float]:
    """Return what an ended stage came to, by name; nothing where it only wrote files."""
    if stage == "train":
        trained = Training.read(run)
        return {
            "n_steps": trained.n_steps,
            "macs": trained.macs,
            "scoring_macs": trained.scoring_macs,
        }
    if stage == "search":
        found = Search.read(run)
        return {**found.counts, "n_front": len(found.front)}
    if stage == "finetune":
        return {"n_subnets": len(FinetunedFront.read(run).members)}
    return {}
