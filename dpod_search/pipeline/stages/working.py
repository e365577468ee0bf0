"""More processes on the search of a run: one that joins it, and those that it starts itself."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path

from dpod_search.config import StudyConfig
from dpod_search.environment import RANK_VARIABLES
from dpod_search.environment import STORAGE_VARIABLE
from dpod_search.errors import RunFolderError
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
    tell: Callable[[Session], None] | None = None,
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
        tell: Is given the run before the search is joined, to tell how long it may take.

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
            tell(session)
        try:
            result = searching.search_study(session, is_shared=True)
        except Exception:
            _logger.exception("worker: failed")
            raise
        _logger.info("worker: the search has ended")
        return result


@contextmanager
def helping_workers(session: Session) -> Iterator[None]:
    """Let further processes work on a run's search inside the block.

    Args:
        session: The run; its ``n_jobs`` counts this process too.

    Raises:
        ConfigError: If several processes cannot share the storage.
    """
    # Without a search there is a trial for each budget, and nothing to share.
    n_more = 0 if session.config.oneshot.method else session.n_jobs - 1
    if n_more < 1:
        yield
        return
    searching.prepare_sharing(session)
    # What helpers only read is made before.
    searching.find_seeds(session, searching.make_search_task(session, session.supernet))
    # All cores for each would be slower than one core for each.
    n_threads = session.n_threads
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(n_more):
            helpers.append(_start_helper(session, n_threads))  # noqa: PERF401  (it may be the last)
        with limit_threads(n_threads):
            yield
    finally:
        # Whatever happened: a study whose budget is spent leaves them nothing to do (one may
        # still be importing), and in the middle of one they can be killed at any moment.
        for helper in helpers:
            helper.kill()
        for helper in helpers:
            helper.wait()


def _start_helper(session: Session, n_threads: int) -> subprocess.Popen[bytes]:
    # Not through joblib: it would do the work of a single helper in this process, has no way to
    # stop one in the middle of its task without warnings, and keeps processes for later.
    command = [sys.executable, "-m", "dpod_search", "worker", "--quiet"]
    command += ["--parent", str(os.getpid())]
    command += ["--study", str(session.path / "config.toml"), "--out", str(session.path)]
    command += ["--set", f"threads={n_threads}"]
    # What goes wrong there is in log.jsonl; this process takes over, or meets the same error.
    nowhere = subprocess.DEVNULL
    # It is no rank of a training that torchrun started.
    foreign = (*RANK_VARIABLES, STORAGE_VARIABLE)
    own = {name: value for name, value in os.environ.items() if name not in foreign}
    if session.storage:
        own[STORAGE_VARIABLE] = session.storage  # all users see the words of a command
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=own)
