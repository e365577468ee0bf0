"""Helper processes that do not outlive the one that started them, however that ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time


# Between two looks at the parent: soon enough for a person, and nothing that could be measured.
_SECONDS = 0.5


def end_with(parent: int) -> None:
    """End this process within a second of its parent's end.

    A parent that is killed can tell nobody. Else its helpers would go on to take memory, and to
    write under the feet of the next one. Linux could send a signal (``PR_SET_PDEATHSIG``), but it
    does so when the *thread* that started a process ends, and other systems have nothing like it.

    Args:
        parent: The process that started this one; this one itself where work that may go to a
            helper is done at home. On Windows its end goes unnoticed.
    """
    if os.name == "posix" and parent != os.getpid():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    started_by = multiprocessing.parent_process()
    is_served = multiprocessing.get_start_method(allow_none=True) == "forkserver"
    if is_served and started_by is not None and started_by.pid == parent:
        # Python's default on Linux from 3.14 on. The server stands between, and lives as long as
        # any helper; but a pipe leads to the parent, whose other end no helper holds.
        started_by.join()
    else:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
    os._exit(1)
