"""Keeping a solver's stray lines off standard output."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Let nothing that is written to file descriptor 1 inside the block come out.

    HiGHS leaves a line of its debugging there now and then, whatever it is told to print, and it
    would stand in the middle of what a command prints as JSON.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):  # there is none, or it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        _flush_c()
        os.dup2(nowhere, 1)
        yield
    finally:
        _flush_c()  # what C has buffered would come out later
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush_c() -> None:
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL("msvcrt") if os.name == "nt" else ctypes.CDLL(None)
        library.fflush(None)
