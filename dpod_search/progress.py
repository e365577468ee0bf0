"""How long work tells that it goes on: a Protocol, and a stand-in that stays silent.

Rooms report through it and never print; the command line draws bars from it.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a task, and of one inside it while that one waits."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Begin a task of about ``total`` units, ``done`` of which were finished earlier.

        One that begins before the last has ended is a part of it, whose time is not the time of
        any of its units.
        """

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more finished units; ``note`` is a short figure to show beside them."""

    def finish(self) -> None:
        """End the task that was started last."""


class SilentProgress:
    """Progress that nobody watches."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Ignore the start of a task."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Ignore finished units."""

    def finish(self) -> None:
        """Ignore the end of a task."""
