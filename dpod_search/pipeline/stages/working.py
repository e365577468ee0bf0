"""More processes on the search of a run, which it starts itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dpod_search.environment import RANK_VARIABLES
from dpod_search.environment import STORAGE_VARIABLE
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import searching
from dpod_search.placement import limit_threads


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
