"""The studies that come with the package, and finding one by name."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.files import expand_path


def list_studies() -> list[tuple[str, str, Path]]:
    """List the studies that come with the package.

    Returns:
        Name, first comment line (empty if there is none) and file of each, sorted by name.
    """
    files: dict[str, Path] = {}
    for folder in _list_folders():
        for path in folder.glob("*.toml"):
            files.setdefault(path.stem, path)
    return [(name, _read_first_comment(files[name]), files[name]) for name in sorted(files)]


def find_study(name_or_path: str | Path) -> Path:
    """Find the file of a study.

    Args:
        name_or_path: A ``.toml`` file, or the name of a study that comes with the package.

    Raises:
        ConfigError: If there is none; names those that come with the package.
    """
    text = str(name_or_path)
    path, is_there = _find_file(text)
    shipped = {name: file for name, _, file in list_studies()}
    names = ", ".join(shipped)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if is_there:
            return path
        raise ConfigError(
            f"{shorten(str(path), 200)} is not a file; give a .toml file or one of: {names}"
        )
    if text in shipped:
        return shipped[text]
    near = difflib.get_close_matches(text, shipped, n=1)
    near = [f"{text}.toml"] if _find_file(f"{text}.toml")[1] else near
    hint = f"did you mean {near[0]!r}? Give" if near else "give"
    raise ConfigError(f"there is no study {show(text)}; {hint} a .toml file or one of: {names}")


def _find_file(text: str) -> tuple[Path, bool]:
    """Return the path that a user spelled, and whether a file is there."""
    path = expand_path(text)
    try:
        return path, path.is_file()
    except (OSError, ValueError):  # too long, or a character of number 0 in it
        return path, False


def _list_folders() -> list[Path]:
    package = Path(str(resources.files("dpod_search")))
    folders = [package / "studies"]
    # A checkout keeps them beside the package; the wheel carries them inside.
    if (package.parent / "pyproject.toml").is_file():
        folders.append(package.parent / "studies")
    return [folder for folder in folders if folder.is_dir()]


def _read_first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").rstrip()
    return ""
