"""A run: the stages in their order, each skipped if nothing it depends on has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

from dpod_search import quantities
from dpod_search.config import StudyConfig
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import RunFolderError
from dpod_search.files import write_text
from dpod_search.finetune import resolve_tuner
from dpod_search.own_code import is_own
from dpod_search.pipeline import disk
from dpod_search.pipeline import pacing
from dpod_search.pipeline.environment import describe_environment
from dpod_search.pipeline.estimating import describe_seconds
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.logs import log_to
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import choosing
from dpod_search.pipeline.stages import exporting
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages import training
from dpod_search.pipeline.stages.table import STAGE_NAMES
from dpod_search.pipeline.stages.table import STAGES
from dpod_search.pipeline.stages.table import Stage
from dpod_search.pipeline.storage import StudyStorage
from dpod_search.pipeline.storage import check_storage
from dpod_search.pipeline.storage import find_storage
from dpod_search.pipeline.storage import keep_storage
from dpod_search.pipeline.telling import describe_ended
from dpod_search.pipeline.telling import open_callbacks
from dpod_search.pipeline.ways import tell_ways
from dpod_search.pipeline.ways import telling_ways
from dpod_search.placement import check_parallel
from dpod_search.placement import limit_threads
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.records.markers import find_marker
from dpod_search.records.storage import KeptStorage
from dpod_search.training import launched_ranks


# What a folder says of the run that it holds.
_CLAIM = ("config.toml", "environment.json")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageOutcome:
    """What became of a stage.

    Args:
        name: Its name.
        was_done: It had ended before with the same inputs and was skipped.
        seconds: Time it took.
    """

    name: str
    was_done: bool
    seconds: float


def run_stages(
    config: StudyConfig,
    out: Path,
    *,
    stages: Sequence[str] = STAGE_NAMES,
    storage: str | None = None,
    progress: Progress | None = None,
    n_jobs: int = 1,
    tell: Callable[[str], None] | None = None,
) -> list[StageOutcome]:
    """Run stages of a study in a run folder.

    Under ``torchrun`` all ranks call it. They train together; everything else is done by the
    first one, while the others have returned.

    Args:
        config: The study.
        out: The run folder; made if it is missing.
        stages: Names of stages, in any order; they run in theirs.
        storage: URL or path of Optuna's storage; None is the one that the folder remembers, or
            the journal in it.
        progress: Who is told.
        n_jobs: Processes that search, this one included; and those that finetune.
        tell: Is told in a line, before the first stage begins, about how long those that are not
            done will take on this machine, and how much of its disk. None measures nothing.

    Returns:
        What became of each stage; nothing on other ranks than the first.

    Raises:
        RunFolderError: If the folder is in use, holds another study, or an earlier stage's
            results are missing.
        ConfigError: If this machine cannot bear the processes or threads that are asked for.
        DpodSearchError: Whatever a stage meets.
    """
    unknown = sorted(set(stages) - {stage.name for stage in STAGES})
    if unknown:
        raise ConfigError(f"there is no stage {unknown[0]!r}; there are train to report")
    _check_machine(config, n_jobs)
    if not launched_ranks().is_first:
        if "train" in stages:
            with limit_threads(config.threads):
                session = Session(config, RunFolder(out), progress or SilentProgress())
                training.follow(session)
        return []
    place = find_storage(out, storage, is_opened=not _only_looks(stages))
    with _entering(out, stages, place.url) as folder, limit_threads(config.threads):
        folder.check_study(config)
        if not _only_looks(stages):
            folder.recover()
        session = Session(config, folder, progress or SilentProgress(), place.url, n_jobs)
        session.spelling = place.spelling
        _check_start(session, stages)
        with closing(session.callbacks):
            return _run_all(session, stages, tell)


def _run_all(
    session: Session, stages: Sequence[str], tell: Callable[[str], None] | None
) -> list[StageOutcome]:
    folder = session.folder
    kept = _keep_claim(folder)
    if not _only_looks(stages):
        place = StudyStorage(session.storage, session.spelling)
        # Where a search has ended, another one alone opens a storage, and finds out if it is wrong.
        is_kept = bool(place.spelling) and ("search" in stages or not folder.has_ended("search"))
        is_there = is_kept or (folder.path / KeptStorage.FILE).is_file()
        with folder.noting("run", *_CLAIM, *([KeptStorage.FILE] if is_there else [])):
            folder.claim(session.config)
            describe_environment().write(folder.path)
            if is_kept:
                keep_storage(folder.path, place)
    if tell is not None:
        _tell_seconds(session, stages, tell)
    outcomes = []
    for stage in STAGES:
        if stage.name in stages:
            # A search that is refused must not leave its settings behind.
            told = telling_ways(folder.path, session.config, session.storage)
            with told, _restoring(folder, kept if stage.name == "search" else {}):
                outcomes.append(_run_stage(stage, session))
    return outcomes


def _check_machine(config: StudyConfig, n_jobs: int) -> None:
    """Raise if there would be more processes or threads than this machine can bear."""
    check_parallel("--jobs", n_jobs)
    check_parallel("training.n_workers", config.training.n_workers, low=0)
    if config.threads is not None:
        check_parallel("threads", config.threads)
    if config.latency.table is None:  # else they are another device's, maybe
        check_parallel("latency.n_threads", config.latency.n_threads)


def _only_looks(stages: Sequence[str]) -> bool:
    # A report alone changes no result, so it must not say that they came of other settings or
    # another machine; nor does it write anything but itself.
    return set(stages) <= {"report"}


@contextmanager
def _entering(out: Path, stages: Sequence[str], storage: str | None) -> Iterator[RunFolder]:
    if _only_looks(stages):
        with RunFolder(out).looked_into() as folder:
            yield folder
    else:
        with RunFolder(out) as folder, log_to(out / "log.jsonl", storage):
            yield folder


def _check_start(session: Session, stages: Sequence[str]) -> None:
    """Raise what can be known to go wrong, before anything is written."""
    try:
        _look_ahead(session, stages)
        if not _only_looks(stages):
            session.callbacks = open_callbacks(session.config, session.path)
    except DpodSearchError as error:
        # The traceback helps to mend one's own code. Else nothing is written.
        if is_own(error.__cause__) or hasattr(error, "__notes__"):
            _logger.exception("%s: failed", stages[0])
        raise


def _look_ahead(session: Session, stages: Sequence[str]) -> None:
    check_storage(StudyStorage(session.storage))
    if "train" in stages:
        training.check_task(session)  # complains of model, data and device too
    if "search" in stages:
        # A mistake in what is searched should not wait until the training has ended.
        searching.check_task(session)
    if "finetune" in stages:
        choosing.check_budgets(session)
        if "search" in stages:
            choosing.check_reachable(session)
        if session.config.finetune.tuner is not None:
            resolve_tuner(session.config.finetune.tuner)
    if "export" in stages:
        exporting.check_formats(session)
    for stage in STAGES:
        if stage.name in stages:
            stage.describe_inputs(session)  # complains of what an earlier stage has not left
            return


def _tell_seconds(session: Session, stages: Sequence[str], tell: Callable[[str], None]) -> None:
    """Say about how long the stages take that are still to do, and how much disk."""
    if not launched_ranks().is_alone:
        return  # how much faster they are together is not known
    chosen = [stage for stage in STAGES if stage.name in stages]
    # Stages after one that is to do are to do as well.
    due = dropwhile(lambda s: _is_done(s, session, s.describe_inputs(session)), chosen)
    names = [stage.name for stage in due]
    if _only_looks(names):
        return
    try:
        seconds = pacing.estimate_stages(session, names)
        n_bytes = sum(disk.estimate_bytes(session, names).values())
    except Exception:  # it is not what was asked for, and the stage itself will complain
        _logger.info("how long the stages take cannot be told", exc_info=True)
        return
    told = [describe_seconds(seconds)] if seconds else []
    tell("; ".join([*told, disk.describe_bytes(session, n_bytes)]))


def _keep_claim(folder: RunFolder) -> dict[Path, str]:
    """Return what a folder says of the search it holds; nothing before it holds weights."""
    if not folder.has_ended("train"):
        return {}
    files = [folder.path / name for name in (*_CLAIM, KeptStorage.FILE)]
    files += [find_marker(folder.path, name) for name in ("run", "search")]
    return {file: file.read_text(encoding="utf-8") for file in files if file.is_file()}


@contextmanager
def _restoring(folder: RunFolder, kept: Mapping[Path, str]) -> Iterator[None]:
    try:
        yield
    except (RunFolderError, ConfigError, CheckpointError):
        # Of a storage, too, that is not there or is none: the search that ended is still whole.
        with suppress(CheckpointError):  # on a full disk, which is what was told
            if kept:
                folder.unmark("run")
                (folder.path / KeptStorage.FILE).unlink(missing_ok=True)
            for file, text in kept.items():
                write_text(file, text)
        raise


def _run_stage(stage: Stage, session: Session) -> StageOutcome:
    start = time.perf_counter()
    inputs = stage.describe_inputs(session)
    if _is_done(stage, session, inputs):
        _clean_up(stage, session)
        if stage.skip is not None:
            stage.skip(session)
        _logger.info("%s: done before, nothing it depends on has changed", stage.name)
        return StageOutcome(stage.name, was_done=True, seconds=0.0)
    if stage.name == "train" and session.folder.has_other_inputs("train", inputs):
        raise RunFolderError(
            f"{session.path} holds weights that were trained on other pictures or another model; "
            + tell_ways(session.path, "restore them")
        )
    if session.folder.is_done(stage.name, inputs):
        _logger.warning("%s: is done again, for the study is not what it left", stage.name)
    _logger.info("%s: starts", stage.name)
    session.folder.unmark(stage.name)
    try:
        outputs = stage.run(session, inputs)
    except Exception:
        _logger.exception("%s: failed", stage.name)
        raise
    session.folder.mark_done(stage.name, inputs, outputs)
    _clean_up(stage, session)
    seconds = time.perf_counter() - start
    _logger.info("%s: ended after %s", stage.name, quantities.seconds(seconds))
    session.callbacks.on_stage(stage.name, seconds, describe_ended(stage.name, session.path))
    return StageOutcome(stage.name, was_done=False, seconds=seconds)


def _is_done(stage: Stage, session: Session, inputs: Mapping[str, Any]) -> bool:
    """Say whether a stage has ended with these inputs, and all is there that it wrote."""
    if not session.folder.is_done(stage.name, inputs):
        return False
    return stage.is_there is None or stage.is_there(session)


def _clean_up(stage: Stage, session: Session) -> None:
    if stage.clean_up is not None:
        stage.clean_up(session)
