"""Files that appear whole: written aside, flushed to the disk, then renamed.

A reader sees the old file or the new one, never a part of it, also after ``kill -9``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpod_search.errors import CheckpointError


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a file beside ``path``, then put it in place at once.

    Args:
        path: The file to create or replace; its folder is made if it is missing.
        write: Called with a temporary path in the same folder; must create that file.

    Raises:
        CheckpointError: If the operating system refuses, for instance because the disk is
            full. The earlier file, if there was one, is left as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        _flush(aside)
        os.replace(aside, path)
        _flush(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"could not write {path}: {error.strerror or error}; "
            "the earlier file is unchanged, free some space or choose another --out"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes as a whole file; errors as in :func:`write_whole`."""
    write_whole(path, lambda aside: _fill(aside, data))


def write_text(path: Path, text: str) -> None:
    """Write text (UTF-8) as a whole file; errors as in :func:`write_whole`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented, as a whole file; errors as in :func:`write_whole`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that this package wrote.

    Raises:
        CheckpointError: If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; run the stage that writes it") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the place of ``path`` when the block ends well.

    Args:
        path: The folder to create or replace.

    Yields:
        An empty folder beside ``path``.

    Raises:
        CheckpointError: If the operating system refuses the final rename.
    """
    aside = path.with_name(f".{path.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        shutil.rmtree(path, ignore_errors=True)
        os.replace(aside, path)
        _flush(path.parent)
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flush(path: Path) -> None:
    # A rename is only safe once the data it points to are on the disk, hence both fsyncs.
    if os.name == "nt" and path.is_dir():  # pragma: no cover  (Windows cannot open folders)
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
