"""The terminal: text of the user's is shown there, and neither obeyed nor too much for it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from dpod_search.bars.drawing import Bars
from dpod_search.cli.interrupts import stop_if_interrupted
from dpod_search.escaping import make_visible


class PlainConsole(Console):
    """A console that shows text as it is: no markup, no emoji, no codes for the terminal."""

    def __init__(self, *, width: int | None = None, is_error: bool = False) -> None:
        """Write to standard output, or to standard error."""
        super().__init__(markup=False, emoji=False, width=width, stderr=is_error)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of rich's, for what is printed and for the cells of tables."""
        return super().render_str(make_visible(text), **options)


def make_bars(*, is_quiet: bool = False) -> Bars:
    """Return bars on standard error that end when the command was interrupted."""
    console = PlainConsole(is_error=True)
    return Bars(console, is_quiet=is_quiet, on_move=stop_if_interrupted)


def say(text: str, *, is_error: bool = False, is_last: bool = True) -> None:
    """Print a line.

    Args:
        text: What to say.
        is_error: Say it on standard error.
        is_last: End the line.
    """
    end = "\n" if is_last else ""
    print(make_visible(text), file=sys.stderr if is_error else sys.stdout, end=end, flush=True)


@contextmanager
def hearing_models(tell: Callable[[str], None]) -> Iterator[None]:
    """Say what a model is made of inside the block, where that is not just what was named.

    Args:
        tell: Says a line: which weights of a file were taken, what was drawn anew, and what of it
            a subnet has little of.
    """
    loggers = [logging.getLogger(name) for name in _ABOUT_MODELS]
    handler = _Teller(tell)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


# What discovery warns of stands in what inspect prints, and in the report.
_ABOUT_MODELS = ("dpod_search.models", "dpod_search.pipeline.nets")


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record."""
        self._tell(record.getMessage())


def show_json(value: Any) -> None:
    """Print a JSON value on standard output."""
    print(json.dumps(value, indent=2))


def spare_encoding() -> None:
    """Let standard output write characters that its encoding lacks as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
