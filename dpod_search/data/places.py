"""Where the files and folders are that a source is named by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dpod_search.data.settings import DataSettings
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import show
from dpod_search.escaping import spell_name
from dpod_search.files import expand_path


def find_file(name: object, settings: DataSettings, what: str) -> Path:
    """Find a file that a study names.

    Args:
        name: From / or ~, or relative to ``data.root``.
        settings: ``root`` counts.
        what: What it is named by, for the message.

    Raises:
        ConfigError: If the name is no text.
        DataError: If there is no such file.
    """
    return _find(name, settings, what, "file", Path.is_file)


def find_folder(name: object, settings: DataSettings, what: str) -> Path:
    """Find a folder that a study names; arguments and errors as :func:`find_file`'s."""
    return _find(name, settings, what, "folder", Path.is_dir)


def _find(
    name: object, settings: DataSettings, what: str, kind: str, ask: Callable[[Path], bool]
) -> Path:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{what} must name a file or folder, got {show(name)}")
    path = expand_path(settings.root) / expand_path(name)
    if not _is_there(path, ask):
        raise DataError(
            f"{what}: there is no {kind} {spell_name(str(path))}; name one from data.root "
            f"({spell_name(settings.root)}) or from /"
        )
    return path


def refuse_image_size(name: str, settings: DataSettings) -> None:
    """Raise if pictures are to be resized that a source does not resize.

    Raises:
        ConfigError: If so.
    """
    if settings.image_size is not None:
        raise ConfigError(f"data.image_size does not reach {name}; leave it out")


def _is_there(path: Path, ask: Callable[[Path], bool]) -> bool:
    try:
        return ask(path)
    except OSError:  # a name that is too long
        return False
