"""Signals that end a command: remembered, for not everything lets them through."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from types import TracebackType
from typing import Any
from typing import Self

from dpod_search.environment import read_rank


# Ctrl-C; `kill`, systemd, docker stop, Slurm; a terminal that was closed (not on Windows).
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# A process that was told otherwise stays deaf: in the background, or under nohup.
_UNTOUCHED = (signal.default_int_handler, signal.SIG_DFL)


class _Interrupt(KeyboardInterrupt):
    """An interrupt by whose exit code the process ends, and not Python by SIGINT.

    Under ``python -m``, Python ends itself by that signal at exit if a plain ``KeyboardInterrupt``
    has passed through an ``exec``, although it was caught; and imports are full of them.
    """


class Interrupts:
    """Raises ``KeyboardInterrupt`` at a signal inside its block, and remembers that it did.

    PyTorch imports parts of itself when they are first needed. An interrupt that arrives there may
    be swallowed, come out as another error, or be printed as an exception that was ignored.
    """

    def __init__(self) -> None:
        """Prepare; nothing is changed yet."""
        self.came: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._is_over = False

    def __enter__(self) -> Self:
        """Listen, unless the process was told otherwise."""
        self._hook, self._uncaught_hook = sys.unraisablehook, sys.excepthook
        sys.unraisablehook, sys.excepthook = self._tell_unraisable, self._tell_uncaught
        if threading.current_thread() is threading.main_thread():
            for number in _list_signals():
                if signal.getsignal(number) in _UNTOUCHED:
                    self._before[number] = signal.signal(number, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave everything as it was, unless the process is about to end."""
        if not self._is_over:
            sys.unraisablehook, sys.excepthook = self._hook, self._uncaught_hook
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of the signals."""
        self.came = self.came or signal.Signals(number)
        raise _Interrupt

    def end(self) -> None:
        """Ignore any more of them, for the process is about to end."""
        self._is_over = True
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _tell_unraisable(self, what: Any) -> None:
        # What is taken down after it has nothing to add: PyTorch's loader mourns workers that
        # were told to end too.
        if self.came is None and what.exc_type is not KeyboardInterrupt:
            self._hook(what)

    def _tell_uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        # By this hook Python's own thread that hands tensors to a loader tells that the worker at
        # its other end is gone.
        if self.came is None:
            self._uncaught_hook(kind, error, trace)


def stop_if_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` again, if one came earlier and something has swallowed it."""
    handlers = [signal.getsignal(number) for number in _list_signals()]
    if any(isinstance(handler, Interrupts) and handler.came for handler in handlers):
        raise KeyboardInterrupt


def _list_signals() -> list[signal.Signals]:
    # By SIGTERM torchrun tells its ranks that one is lost, and training knows what to do then.
    _, n_ranks = read_rank()
    names = _NAMES if n_ranks == 1 else ("SIGINT", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
