"""The two small files by which processes keep out of each other's way in a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from dpod_search.errors import RunFolderError


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
