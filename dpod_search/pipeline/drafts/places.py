"""What a user calls data and models, as a study spells it: folders, files, names."""

from __future__ import annotations

from pathlib import Path

from dpod_search.data.registry import PREFIXES
from dpod_search.data.registry import SOURCES
from dpod_search.data.settings import DataSettings
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import show
from dpod_search.escaping import spell_name
from dpod_search.files import expand_path
from dpod_search.imports import is_import_path


_ENDINGS = {".txt": "text", ".npz": "arrays"}
_FROM_ROOT = ("segmentation", "text", "arrays")  # their places begin at data.root
_PARTS = ("", "train")
_HERE = "."


def spell_data(text: str) -> tuple[str, str | None]:
    """Return ``data.name``, and ``data.root`` where that must be another than by default.

    Args:
        text: A name of data; a folder of pictures; a ``.txt`` or ``.npz`` file; or
            ``file.py:function``.

    Raises:
        ConfigError: If a file of code is missing or lies elsewhere.
        DataError: If there is no such folder or file, or it is of no kind that is read.
    """
    prefix, colon, place = text.partition(":")
    if text in SOURCES:
        return text, None
    if colon and prefix in PREFIXES:
        return text, _find_root(prefix, place)
    path = expand_path(text)
    if _is(path, "folder"):
        kind = "segmentation" if _holds_masks(path) else "imagefolder"
        return f"{kind}:{text}", _find_root(kind, text)
    if _is(path, "file"):
        if path.suffix.lower() not in _ENDINGS:
            raise DataError(
                f"--data {spell_name(text)} is a file of no kind that is read; give a folder of "
                "pictures, a .txt or .npz file, or a function of your own as package.module:function"
            )
        kind = _ENDINGS[path.suffix.lower()]
        return f"{kind}:{text}", _find_root(kind, text)
    if colon:
        return spell_own(text), None
    if len(path.parts) > 1 or path.suffix or text.endswith("/"):
        raise DataError(
            f"--data: there is no folder or file {spell_name(text)}; name one from here "
            f"({spell_name(str(Path.cwd()))}) or from /"
        )
    return text, None


def spell_own(text: str) -> str:
    """Return an import path for code that is named by its file, ``file.py:name``; else the text.

    Raises:
        ConfigError: If there is no such file, or it cannot be imported from this folder.
    """
    place, colon, name = text.rpartition(":")
    if not colon and text.endswith(".py") and _is(expand_path(text), "file"):
        raise ConfigError(
            f"{show(text)} is a file; say which of its functions, as {text}:make_net"
        )
    if not colon or not place.endswith(".py"):
        return text
    path = expand_path(place)
    here = Path.cwd().resolve()
    if not _is(path, "file"):
        raise ConfigError(
            f"{show(text)}: there is no file {spell_name(place)}; name one from here "
            f"({spell_name(str(here))})"
        )
    if not path.resolve().is_relative_to(here):
        raise ConfigError(
            f"{show(text)}: a study imports code from the folder that it runs in; go to "
            f"{spell_name(str(path.resolve().parent))} and write {path.name}:{name}"
        )
    parts = path.resolve().relative_to(here).with_suffix("").parts
    spelled = f"{'.'.join(parts)}:{name}"
    if not is_import_path(spelled):
        raise ConfigError(
            f"{show(text)} cannot be imported: names of files, folders and functions must be of "
            "letters, digits and '_'; rename it"
        )
    return spelled


def _find_root(kind: str, place: str) -> str | None:
    """Return where a place begins that lies here, and not under the usual ``data.root``."""
    if kind not in _FROM_ROOT or not place or expand_path(place).is_absolute():
        return None
    usual = expand_path(DataSettings().root) / place
    if _is(usual, "folder") or _is(usual, "file"):
        return None
    path = expand_path(place)
    return _HERE if _is(path, "folder") or _is(path, "file") else None


def _holds_masks(path: Path) -> bool:
    return any(
        _is(path / part / "images", "folder") and _is(path / part / "masks", "folder")
        for part in _PARTS
    )


def _is(path: Path, kind: str) -> bool:
    try:
        return path.is_dir() if kind == "folder" else path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds what no name does
        return False
