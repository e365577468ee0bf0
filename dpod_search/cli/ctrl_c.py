"""Ctrl-C: remembered, for not everything lets it through."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from types import TracebackType
from typing import Any
from typing import Self


class CtrlC:
    """Raises ``KeyboardInterrupt`` inside its block, and remembers that it did.

    PyTorch imports parts of itself when they are first needed. An interrupt that arrives there may
    be swallowed, come out as another error, or be printed as an exception that was ignored.
    """

    def __init__(self) -> None:
        """Prepare; nothing is changed yet."""
        self.came = False
        self._is_over = False

    def __enter__(self) -> Self:
        """Listen, unless the process was told otherwise (in the background it is deaf)."""
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._tell_unraisable
        self._listens = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._listens:
            signal.signal(signal.SIGINT, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave everything as it was."""
        sys.unraisablehook = self._hook
        if self._listens and not self._is_over:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of the signal."""
        self.came = True
        raise KeyboardInterrupt

    def end(self) -> None:
        """Ignore any more of them, for the process is about to end."""
        self._is_over = True
        if self._listens:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _tell_unraisable(self, what: Any) -> None:
        if what.exc_type is not KeyboardInterrupt:
            self._hook(what)


def stop_if_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` again, if one came earlier and something has swallowed it."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, CtrlC) and handler.came:
        raise KeyboardInterrupt
