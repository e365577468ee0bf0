"""Progress bars on standard error, for a person at a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.progress import TimeRemainingColumn

from dpod_search.cli.ctrl_c import stop_if_interrupted


class Bars:
    """Draws one bar a task.

    Args:
        console: Where; a console that is no terminal gets one line at the end of each task.
        is_quiet: Draw nothing.
    """

    def __init__(self, console: Console, *, is_quiet: bool = False) -> None:
        """Prepare; nothing is drawn before a task starts."""
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=is_quiet or not console.is_terminal,
        )
        self._is_quiet = is_quiet
        self._task: TaskID | None = None
        self._done_before = 0

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing, whatever happened."""
        self._bars.stop()

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Add a bar."""
        stop_if_interrupted()
        self._task = self._bars.add_task(task, total=total, completed=done, note="")
        self._done_before = done

    def advance(self, n: int = 1, note: str = "") -> None:
        """Move the bar on."""
        stop_if_interrupted()
        if self._task is not None:
            self._bars.update(self._task, advance=n, note=note)

    def finish(self) -> None:
        """Leave the bar as it stands, or take it away if there was nothing to do.

        On no terminal, say in a line what was done.
        """
        if self._task is None:
            return
        task = next(task for task in self._bars.tasks if task.id == self._task)
        if task.completed == self._done_before:
            self._bars.remove_task(task.id)
        elif not self._is_quiet and not self._console.is_terminal:
            elapsed = f"{task.elapsed:.1f} s" if task.elapsed is not None else ""
            self._console.print(
                f"{task.description}: {task.completed:.0f} of {task.total:.0f} {elapsed}".rstrip(),
                highlight=False,
            )
        self._task = None
