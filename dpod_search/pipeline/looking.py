"""Looking into a run folder: without a trace, and knowing whether a process works there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dpod_search.pipeline.marks import LOCK


if sys.platform != "win32":
    import fcntl


@contextmanager
def looking_into(folder: Path) -> Iterator[bool]:
    """Look into a run folder; nobody begins to work there inside the block.

    The lock of who works there is asked for, and shared, through a file that is only read:
    taking it would leave a mark, and in a folder that cannot be written to it would fail.

    Args:
        folder: The run folder; one without a lock was never worked in.

    Yields:
        Whether a process works there.
    """
    try:
        file = (folder / LOCK).open("rb")
    except OSError:
        yield False
        return
    with file:
        yield not _share(file)


def _share(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":  # pragma: no cover  (there a locked byte cannot be read)
            file.read(1)
        else:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
