"""Files that appear whole: written aside, flushed to the disk, then renamed.

A reader sees the old file or the new one, never a part of it, also after ``kill -9``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dpod_search.errors import CheckpointError


_ASIDE = re.compile(r"\.(.+)\.\d+\.part")  # how `write_whole` names a file that is not whole yet
_MAX_JSON = 2**30  # bytes; the largest, a request with its nets, have some megabytes


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
    except OSError as error:
        raise CheckpointError(
            f"could not write {path}: {error.strerror or error}; "
            "the earlier file is unchanged, free some space or choose another --out"
        ) from error
    finally:
        with suppress(OSError):  # or it would hide what went wrong
            aside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes as a whole file; errors as in :func:`write_whole`."""
    write_whole(path, lambda aside: _fill(aside, data))


def write_text(path: Path, text: str) -> None:
    """Write text (UTF-8) as a whole file; errors as in :func:`write_whole`."""
    # Half a character, as of a file's name that is no UTF-8, cannot be written but as an escape.
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented, as a whole file; errors as in :func:`write_whole`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def expand_path(text: str) -> Path:
    """Return the path that a user spelled, ``~`` in it the home folder of a user that there is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of a user that there is not; nothing will be found there
        return Path(text)


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON value.

    Raises:
        ValueError: If it is none, or lies deeper than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep in each other") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    Raises:
        ValueError: If it is none (a ``TOMLDecodeError``), or lies deeper or has longer numbers
            than can be read.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("lists or tables lie too deep in each other") from error


def read_bounded(path: Path, n_bytes: int) -> bytes:
    """Read a file that is small if it is what it should be.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it has more bytes than that; it is not read then.
    """
    size = path.stat().st_size
    if size > n_bytes:
        raise ValueError(f"it has {size:,} bytes, and at most {n_bytes:,} are read")
    return path.read_bytes()


def read_json(path: Path, n_bytes: int = _MAX_JSON) -> Any:
    """Read a JSON file that this package wrote, of at most so many bytes.

    Raises:
        CheckpointError: If the file is missing, cannot be read, is too large or is not JSON.
    """
    try:
        return parse_json(read_bounded(path, n_bytes).decode())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; run the stage that writes it") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


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

    Files of the earlier folder that the new one has not are the user's own, and come with it.

    Args:
        path: The folder to create or replace.

    Yields:
        An empty folder beside ``path``.

    Raises:
        CheckpointError: If the operating system refuses to write or to rename. The earlier
            folder, if there was one, is left as it was.
    """
    aside, old = _beside(path)
    try:
        finish_folder(path)
        aside.mkdir(parents=True)
        yield aside
        for written in sorted(aside.rglob("*")):
            _flush(written)
        if path.is_dir():
            os.replace(path, old)
        os.replace(aside, path)
    except OSError as error:
        raise CheckpointError(
            f"could not write {path}: {error.strerror or error}; "
            "what was there is unchanged, free some space or choose another --out"
        ) from error
    finally:
        with suppress(OSError):
            if not path.exists() and old.exists():
                os.replace(old, path)
            _hand_on(old, path)
        shutil.rmtree(aside, ignore_errors=True)
    _flush_folder(path.parent)


def finish_folder(path: Path) -> None:
    """Complete what a process left that was killed inside :func:`whole_folder`.

    Args:
        path: The folder that it replaced; nobody else may be writing there.

    Raises:
        OSError: If the operating system refuses; nothing is lost.
    """
    aside, old = _beside(path)
    if old.is_dir() and not path.exists():  # killed between the renames: what lies aside is whole
        os.replace(aside if aside.is_dir() else old, path)
    _hand_on(old, path)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Delete files that killed processes left half written in a folder, but nothing below it.

    Args:
        folder: Nobody else may be writing there.
        names: Patterns of what this package writes there: other files are not its to delete.
    """
    for path in list(folder.iterdir()):
        made = _ASIDE.fullmatch(path.name)
        is_ours = made and any(fnmatchcase(made[1], name) for name in names)
        if is_ours and path.is_file() and not path.is_symlink():
            with suppress(OSError):
                path.unlink()


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _beside(path: Path) -> tuple[Path, Path]:
    """Return where a folder is filled, and where the earlier one waits for its end."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")


def _hand_on(old: Path, path: Path) -> None:
    """Move what a replaced folder alone has to its successor, then delete it."""
    if old.is_symlink():
        old.unlink()  # what it leads to is somebody else's
    elif old.is_dir():
        for own in list(old.iterdir()):
            if not os.path.lexists(path / own.name):
                os.replace(own, path / own.name)
        shutil.rmtree(old, ignore_errors=True)


def _flush_folder(path: Path) -> None:
    # Not every file system can; without it a power cut may bring the earlier file back, whole.
    with suppress(OSError):
        _flush(path)


def _flush(path: Path) -> None:
    # A rename is only safe once the data it points to are on the disk, hence both fsyncs.
    if os.name == "nt" and path.is_dir():  # pragma: no cover  (Windows cannot open folders)
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
