"""The studies that come with the package, and finding one by name."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from dpod_search.errors import ConfigError


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
    path = Path(text).expanduser()
    shipped = {name: file for name, _, file in list_studies()}
    names = ", ".join(shipped)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if path.is_file():
            return path
        raise ConfigError(f"{path} is not a file; give a .toml file or one of: {names}")
    if text in shipped:
        return shipped[text]
    near = difflib.get_close_matches(text, shipped, n=1)
    near = [f"{text}.toml"] if Path(f"{text}.toml").is_file() else near
    hint = f"did you mean {near[0]!r}? Give" if near else "give"
    raise ConfigError(f"there is no study {text!r}; {hint} a .toml file or one of: {names}")


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
