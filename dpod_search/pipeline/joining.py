"""One more process on the search of a run, which somebody else began."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dpod_search.config import StudyConfig
from dpod_search.errors import RunFolderError
from dpod_search.pipeline import pacing
from dpod_search.pipeline.estimating import describe_seconds
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.logs import log_to
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages import training
from dpod_search.pipeline.storage import find_storage
from dpod_search.pipeline.telling import open_callbacks
from dpod_search.pipeline.ways import telling_ways
from dpod_search.placement import limit_threads
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import SearchResult


_logger = logging.getLogger(__name__)


def work(
    config: StudyConfig,
    out: Path,
    *,
    storage: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> SearchResult:
    """Join the search of a run whose supernet is trained, until the study's budget is spent.

    The run folder is only read, and may be a copy of it on another machine if the study is in a
    database that both reach. The records of the search are written by ``search`` or ``run``.

    Args:
        config: The study.
        out: The run folder.
        storage: URL or path of Optuna's storage; None is the one that the folder remembers, or
            the journal in it.
        progress: Who is told.
        tell: Is told in a line about how long what is left would take this process alone. None
            measures nothing.

    Returns:
        What all workers together have found.

    Raises:
        RunFolderError: If the folder holds another study, or no supernet that was trained for it.
        ConfigError: If several processes cannot share the storage.
        DpodSearchError: Whatever the search meets.
    """
    folder = RunFolder(out)
    if not (out / "config.toml").is_file():
        raise RunFolderError(
            f"{out} holds no run; train its supernet with `dpod-search train`, or copy a run "
            "folder there"
        )
    folder.check_study(config)
    place = find_storage(out, storage)
    storage = place.url
    session = Session(config, folder, progress or SilentProgress(), storage, is_guest=True)
    folder.require_stage("train", training.describe_inputs(session))
    session.callbacks = open_callbacks(config, out, worker=os.getpid())
    with (
        limit_threads(config.threads),
        log_to(out / "log.jsonl", storage),
        telling_ways(out, config, storage),
        closing(session.callbacks),
    ):
        _logger.info("worker: joins the search")
        if tell is not None:
            _tell_seconds(session, tell)
        try:
            result = searching.search_study(session, is_shared=True)
        except Exception:
            _logger.exception("worker: failed")
            raise
        _logger.info("worker: the search has ended")
        return result


def _tell_seconds(session: Session, tell: Callable[[str], None]) -> None:
    try:
        seconds = pacing.estimate_stages(session, ["search"])
    except Exception:  # it is not what was asked for, and the search itself will complain
        _logger.info("how long the search takes cannot be told", exc_info=True)
        return
    if seconds:
        tell(f"{describe_seconds(seconds)}; less with every other worker")
