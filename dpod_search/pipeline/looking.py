"""How processes keep out of each other's way in a run folder: its marks, and looking without one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dpod_search.errors import RunFolderError


if sys.platform != "win32":
    import fcntl

LOCK = ".lock"  # empty; taking it empties whatever lies there
OWNER = ".owner"  # the process that works there; deleted when it leaves, and never without a lock


def check_marks(folder: Path) -> None:
    """Raise if a folder has files or links of the user's where a run puts its marks.

    Raises:
        RunFolderError: If it has, for they would be emptied or deleted.
        OSError: If they cannot be looked at.
    """
    lock = folder / LOCK
    found = [file for file in (folder / OWNER, lock) if os.path.lexists(file)]
    if lock.is_file() and not lock.is_symlink() and lock.stat().st_size == 0:
        return
    if found:
        raise RunFolderError(
            f"cannot use {folder} as a run folder: the {found[-1].name} in it is none of a run's; "
            "choose another --out, or move it away"
        )


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
