"""The stages of a run, in their order: what each depends on, does, and leaves in the study."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpod_search.errors import RunFolderError
from dpod_search.files import hash_file
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import exporting
from dpod_search.pipeline.stages import finetuning
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages import training
from dpod_search.pipeline.stages.working import helping_workers
from dpod_search.report import FIGURES
from dpod_search.report import write_report


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Args:
        name: Its command.
        describe_inputs: All it depends on, as JSON values.
        run: Does the work for these inputs, or goes on with it, and returns the files it wrote.
        clean_up: Deletes what was only needed until the stage was marked as ended, if anything.
        skip: Called in place of ``run`` where the stage was done before.
        is_there: Says of a stage that ended whether what it wrote into the study is still there.
    """

    name: str
    describe_inputs: Callable[[Session], dict[str, Any]]
    run: Callable[[Session, Mapping[str, Any]], list[str]]
    clean_up: Callable[[Session], None] | None = None
    skip: Callable[[Session], None] | None = None
    is_there: Callable[[Session], bool] | None = None


# What the report is made of.
_REPORTED = (
    "config.toml",
    "environment.json",
    "training.json",
    "path.json",
    "latency.json",
    "oneshot.json",
    "search.json",
    "trials.csv",
    "front.json",
    "exported/manifest.json",
)


def _describe_report_inputs(session: Session) -> dict[str, Any]:
    files = [session.path / name for name in _REPORTED]
    if not files[0].is_file():
        raise RunFolderError(
            f"{files[0]} is missing; run `dpod-search train` with the same --study and --out first"
        )
    return {file.name: hash_file(file) for file in files if file.exists()}


def _run_report(session: Session, _: Mapping[str, Any]) -> list[str]:
    files = [write_report(session.path)]
    files += [session.path / "figures" / f"{kind.name}.csv" for kind in FIGURES]
    return [str(file.relative_to(session.path)) for file in files if file.is_file()]


def _run_search(session: Session, inputs: Mapping[str, Any]) -> list[str]:
    with helping_workers(session):
        return searching.run(session, inputs)


STAGES: tuple[Stage, ...] = (
    Stage("train", training.describe_inputs, training.run, training.clean_up, training.dismiss),
    Stage("search", searching.describe_inputs, _run_search, is_there=searching.has_trials),
    Stage(
        "finetune", finetuning.describe_inputs, finetuning.run, is_there=finetuning.has_children
    ),
    Stage("export", exporting.describe_inputs, exporting.run),
    Stage("report", _describe_report_inputs, _run_report),
)

STAGE_NAMES = tuple(stage.name for stage in STAGES)
