"""Helper processes that do not outlive the one that started them, however that ended."""

from __future__ import annotations

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
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(1)
