"""How processes keep out of each other's way in a run folder: its marks, and looking without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from filelock import Timeout

from dpod_search.errors import RunFolderError


try:
    import fcntl
except ImportError:  # Windows has no locks that are shared through a file that is only read
    _CAN_SHARE = False
else:
    _CAN_SHARE = True

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
    taking it would leave a mark, and in a folder that cannot be written to it would fail. Where
    files cannot be locked so it is taken, and of two who look at once the second is told that
    somebody works there.

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
    with file, _shared(file) if _CAN_SHARE else _taken(folder / LOCK) as is_free:
        yield not is_free


def _shared(file: BinaryIO) -> AbstractContextManager[bool]:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return nullcontext(False)
    return nullcontext(True)  # until the file is closed


@contextmanager
def _taken(lock: Path) -> Iterator[bool]:
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError:  # a folder that cannot be written to: nobody can work there
        yield True
        return
    try:
        yield True
    finally:
        held.release()
