"""Whether somebody looks on, and who is told then: bars, a line of a notebook, or nobody."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from typing import Literal

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress


Audience = Progress | Literal["auto"] | None


@contextmanager
def watched(progress: Audience) -> Iterator[Progress]:
    """Give who is told of the work in the block.

    Args:
        progress: ``"auto"`` draws bars where standard error is a terminal and a line that renews
            itself in a notebook, and nothing elsewhere; None draws nothing anywhere. Any other
            is told itself.

    Raises:
        ConfigError: If it is another text.
    """
    if progress is None:
        yield SilentProgress()
    elif isinstance(progress, str):
        if progress != "auto":
            raise ConfigError(
                f'progress must be "auto", None or an object with start, advance and finish, '
                f"got {show(progress)}"
            )
        with _open_bars() as bars:
            yield bars
    else:
        yield progress


def is_notebook() -> bool:
    """Say whether a notebook's kernel runs this process."""
    # One that runs has imported IPython, and others need not.
    find_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return find_shell is not None and hasattr(find_shell(), "kernel")


def _open_bars() -> AbstractContextManager[Progress]:
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if not is_notebook() and not is_terminal:
        return nullcontext(SilentProgress())
    state = random.getstate()
    from dpod_search.bars.drawing import draw_in_notebook
    from dpod_search.bars.drawing import draw_on_terminal

    # Rich numbers its styles with Python's generator at import, and who looks on must not matter.
    random.setstate(state)
    return draw_in_notebook() if is_notebook() else draw_on_terminal()
