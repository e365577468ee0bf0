"""Progress bars by rich, for a person at a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from types import TracebackType
from typing import Protocol
from typing import Self

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import ProgressColumn
from rich.progress import Task
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.text import Text

from dpod_search.bars.notebook import NotebookLine
from dpod_search.escaping import make_visible
from dpod_search.quantities import seconds


# What is left is told by the speed of so many seconds: a step may become dearer on the way. But of
# so many units at least, for one says little: a trial may be pruned at once, or a subnet be small.
_SECONDS_LOOKED_AT = 30.0
_UNITS_LOOKED_AT = 10


@dataclass
class _Task:
    """A task that is not finished.

    Args:
        id: Of its bar.
        done: Units done.
        done_before: Those of them that an earlier process did.
        away: Seconds that were spent on tasks inside it.
        samples: When so many units were done, in seconds without those away.
    """

    id: TaskID
    done: int
    done_before: int
    away: float = 0.0
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float) -> None:
        """Remember how far it is."""
        at = now - self.away
        self.samples.append((at, self.done))
        # The oldest goes as soon as the next one is old enough to judge by.
        while len(self.samples) > 2 and self._is_enough(at, *self.samples[1]):
            self.samples.popleft()

    def _is_enough(self, at: float, since: float, before: int) -> bool:
        return at - since >= _SECONDS_LOOKED_AT and self.done - before >= _UNITS_LOOKED_AT

    def tell_left(self, total: float, now: float) -> str:
        """Return the time that its units need from here on, without tasks inside it.

        It runs down while a unit takes its time, and is none once that is over: what takes longer
        than all before it did says nothing of how much longer.
        """
        (begin, before), (end, done) = self.samples[0], self.samples[-1]
        if done == before:
            return _UNKNOWN
        each = (end - begin) / (done - before)
        since = now - self.away - end
        n_left = max(0.0, total - done)
        left = round(each * n_left - since)
        if n_left and since > max(2 * each, _SECONDS_LOOKED_AT):
            return _UNKNOWN
        left = max(0, left)
        return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"


_UNKNOWN = "-:--:--"


class _LeftColumn(ProgressColumn):
    """The time left, told anew whenever it is drawn.

    Args:
        tell: Tells it of a bar.
    """

    def __init__(self, tell: Callable[[TaskID], str]) -> None:
        super().__init__()
        self._tell = tell

    def render(self, task: Task) -> Text:
        """Return the time left of a bar."""
        return Text(self._tell(task.id), style="progress.remaining")


class ShowLine(Protocol):
    """Shows a line in place of the one before."""

    def __call__(self, text: str, *, is_last: bool = False) -> None:
        """Show a text; the last one of a task in any case."""


class Bars:
    """Draws one bar a task.

    The time left of a task is that of its own units: what is spent on a task inside it, such as
    the scoring of the path inside the training, has a bar of its own for as long as it lasts.

    Args:
        console: Where; a console that is no terminal gets one line at the end of each task that
            is in no other.
        is_quiet: Draw nothing.
        clock: Gives the time in seconds.
        show: Shows the line of the task that works, in place of bars; ``is_last`` when one ends.
        on_move: Called before a bar begins or moves; what it raises ends the work.
    """

    def __init__(
        self,
        console: Console,
        *,
        is_quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_move: Callable[[], None] = lambda: None,
        show: ShowLine | None = None,
    ) -> None:
        """Prepare; nothing is drawn before a task starts."""
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:>9}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _LeftColumn(self._tell_left),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            get_time=clock,
            disable=is_quiet or show is not None or not console.is_terminal,
        )
        self._is_quiet = is_quiet
        self._clock = clock
        self._on_move = on_move
        self._show = show
        self._open: list[_Task] = []

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

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(line, highlight=False, soft_wrap=True)

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Add a bar."""
        self._on_move()
        bar = self._bars.add_task(make_visible(task), total=total, completed=done, note="")
        begun = _Task(bar, done, done)
        begun.note(self._clock())
        self._open.append(begun)

    def advance(self, n: int = 1, note: str = "") -> None:
        """Move the bar of the task that began last on."""
        self._on_move()
        if not self._open:
            return
        task = self._open[-1]
        task.done += n
        task.note(self._clock())
        total = max(self._find_total(task), task.done)  # it may have been a guess
        self._bars.update(task.id, completed=task.done, total=total, note=make_visible(note))
        if self._show is not None and not self._is_quiet:
            left = task.tell_left(total, self._clock())
            told = f"{left} left" + (f", {make_visible(note)}" if note else "")
            self._show(f"{self._describe(task)}, {told}")

    def finish(self) -> None:
        """Leave the bar as it stands, or take it away if there was nothing to do.

        The bar of a task inside another goes in any case. On no terminal, say in a line what was
        done.
        """
        if not self._open:
            return
        task = self._open.pop()
        bar = next(bar for bar in self._bars.tasks if bar.id == task.id)
        if self._open:
            self._open[-1].away += bar.elapsed or 0.0
        if self._open or task.done == task.done_before:
            self._bars.remove_task(task.id)
        elif self._is_quiet:
            return
        elif self._show is not None:
            self._show(self._describe(task), is_last=True)
        elif not self._console.is_terminal:
            self._console.print(self._describe(task), highlight=False)

    def _describe(self, task: _Task) -> str:
        bar = next(bar for bar in self._bars.tasks if bar.id == task.id)
        elapsed = seconds(bar.elapsed) if bar.elapsed is not None else ""
        return f"{bar.description}: {task.done:.0f} of {bar.total:.0f} {elapsed}".rstrip()

    def _tell_left(self, bar: TaskID) -> str:
        # Asked by the thread that draws, while tasks begin and end: looked at once.
        opened = list(self._open)
        found = [task for task in opened if task.id == bar]
        if not found:
            return _UNKNOWN if self._is_unfinished(bar) else "0:00:00"
        task = found[0]
        inside = opened[-1] is not task
        now = task.samples[-1][0] + task.away if inside else self._clock()
        return task.tell_left(self._find_total(task), now)

    def _is_unfinished(self, bar: TaskID) -> bool:
        return any(task.id == bar and not task.finished for task in self._bars.tasks)

    def _find_total(self, task: _Task) -> float:
        totals = (bar.total or 0.0 for bar in self._bars.tasks if bar.id == task.id)
        return next(totals, float(task.done))


def draw_on_terminal() -> Bars:
    """Return bars on standard error."""
    return Bars(Console(stderr=True, markup=False, emoji=False))


def draw_in_notebook() -> Bars:
    """Return what shows one line in the output of the cell that runs."""
    return Bars(Console(stderr=True, force_jupyter=False), show=NotebookLine())
