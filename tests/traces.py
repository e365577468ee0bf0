"""What a command leaves behind: snapshots of folders, and folders that cannot be written to."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


_CAPABILITIES_V3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


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
    place = Path(tempfile.mkdtemp(prefix="dpod-unwritable-"))
    try:
        copy = Path(shutil.copytree(folder, place / folder.name))
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (place / "elsewhere").mkdir()
        with _unprivileged():
            yield copy
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(place)


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Take from root the right to write where the mode of a file or folder forbids it.

    It stays root otherwise: the interpreter may lie where nobody else can read.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)  # of this thread, and those it starts
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; those above 31 likewise
    assert libc.capget(header, before) == 0
    within = (ctypes.c_uint32 * 6)(*before)
    within[0] &= ~(1 << _CAP_DAC_OVERRIDE)
    assert libc.capset(header, within) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
