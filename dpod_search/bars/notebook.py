"""A line of a notebook's output that renews itself."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any


# Each renewal is a message to the browser, and is kept in no file.
_SECONDS_BETWEEN = 0.2


class NotebookLine:
    """Shows the last text that it was given, in one place of the cell that runs.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is shown before there is a text."""
        self._clock = clock
        self._handle: Any = None
        self._shown_at = 0.0

    def __call__(self, text: str, *, is_last: bool = False) -> None:
        """Show a text in place of the one before.

        Args:
            text: Plain text.
            is_last: Show it however short the last one has been shown.
        """
        now = self._clock()
        if self._handle is not None and not is_last and now < self._shown_at + _SECONDS_BETWEEN:
            return
        self._shown_at, bundle = now, {"text/plain": text}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
