"""What goes wrong in a user's own code, told in one line that names the place."""

from __future__ import annotations

import sysconfig
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpod_search.errors import DpodSearchError


_HERE = Path(__file__).parent
_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
_MOST = 300  # characters: PyTorch names every key of a state_dict that does not fit
_STANDARD = Path(sysconfig.get_path("stdlib"))


@contextmanager
def own_code(what: str, kind: type[DpodSearchError], *, called: object = None) -> Iterator[None]:
    """Turn what a user's own code raises inside the block into an error of this package.

    Args:
        what: What is called, as the user knows it, for the message.
        kind: The error to raise; what was raised is its cause.
        called: The object whose code it is. If that is one of ours all passes: our own mistakes
            are not dressed up.

    Raises:
        DpodSearchError: Of this kind, if the user's code raises an exception that is none of them.
    """
    try:
        yield
    except DpodSearchError:
        raise
    except Exception as error:  # a user's code may raise anything
        if type(called).__module__.partition(".")[0] == __package__:
            raise
        raise kind(f"{what} raised {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Return an error's type, its place in the user's code if it has one, and its message."""
    message = textwrap.shorten(str(error), _MOST, placeholder=" …")
    place = find_place(error)
    told = f"{type(error).__name__} in {place}" if place else type(error).__name__
    return f"{told}: {message}" if message else told


def find_place(error: BaseException) -> str | None:
    """Return where in the user's code an error came up, as ``line 3 of /home/me/mine.py``.

    This is the last line that is neither of this package, of PyTorch nor of Python itself, and
    where there is one, of no installed package either. None if there is no such line.
    """
    calls = _list_calls(error)
    own = [(file, line) for file, line in calls if not _is_in(file, *_INSTALLED)]
    for file, line in reversed(own or calls):
        return f"line {line} of {file}"
    return None


def is_own(error: BaseException | None) -> bool:
    """Say whether an error came up in a file of the user's, and not in an installed package."""
    calls = [] if error is None else _list_calls(error)
    return any(not _is_in(file, *_INSTALLED) for file, _ in calls)


def _list_calls(error: BaseException) -> list[tuple[Path, int]]:
    calls = traceback.walk_tb(error.__traceback__)
    files = [(Path(frame.f_code.co_filename), line) for frame, line in calls]
    return [(file, line) for file, line in files if _is_foreign(file)]


def _is_foreign(file: Path) -> bool:
    if _is_in(file, _HERE) or not file.is_absolute():  # code without a file is in <brackets>
        return False
    if _is_in(file, *_INSTALLED):  # which may lie inside the standard library
        return not _is_in(file, *(folder / "torch" for folder in _INSTALLED))
    return not _is_in(file, _STANDARD)


def _is_in(file: Path, *folders: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)
