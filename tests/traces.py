"""What a command leaves behind: snapshots of folders, and folders that cannot be written to."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of the last change of everything in a folder, and the content of files."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (path.stat().st_mtime_ns, content)
    return found


@contextmanager
def unwritable_copy(folder: Path) -> Iterator[Path]:
    """Give a copy of a folder in which this process can write nothing, not even as root.

    Beside it is the folder ``elsewhere``, in which it can.
    """
    # Not in pytest's own folder, into which only its user may look.
    place = Path(tempfile.mkdtemp(prefix="dpod-unwritable-"))
    try:
        copy = Path(shutil.copytree(folder, place / folder.name))
        place.chmod(0o755)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (place / "elsewhere").mkdir()
        (place / "elsewhere").chmod(0o777)
        with _unprivileged():
            yield copy
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(place)


@contextmanager
def _unprivileged() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    os.setresuid(nobody, nobody, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
