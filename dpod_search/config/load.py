"""A study by name or file, with what ``--set`` changes."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpod_search.config.parse import Document
from dpod_search.config.parse import check_keys
from dpod_search.config.parse import parse_study
from dpod_search.config.shipped import find_study
from dpod_search.config.study import StudyConfig
from dpod_search.config.study import find_sections
from dpod_search.errors import ConfigError


def load_study(name_or_path: str | Path, overrides: Iterable[str] = ()) -> StudyConfig:
    """Load a study.

    Args:
        name_or_path: A ``.toml`` file, or the name of a study that comes with the package.
        overrides: Changes as ``section.key=value``; the value is read as TOML, or taken as a
            plain string if it is not TOML. Later ones win. A table of arguments, options or
            constraints replaces the one that is there; ``search.constraints.macs=...`` sets one
            entry of it.

    Returns:
        The study; its name is that of the file if the file gives none.

    Raises:
        ConfigError: If there is no such study, it is not valid TOML, or a key or a value is
            wrong.
    """
    path = find_study(name_or_path)
    document = read_toml(path)
    document.setdefault("name", path.stem)
    check_keys(document, str(path))
    return _apply(document, str(path), overrides)


def make_study(name: str, overrides: Iterable[str] = ()) -> StudyConfig:
    """Make a study without a file: the defaults, and what ``overrides`` change in them.

    Raises:
        ConfigError: If a key or a value is wrong.
    """
    return _apply({"name": name}, name, overrides)


def _apply(document: Document, source: str, overrides: Iterable[str]) -> StudyConfig:
    sections = find_sections(StudyConfig)
    overridden = []
    for text in overrides:
        key, change = parse_override(text)
        check_keys(change, f"--set {text}")
        _merge(document, change, key.count("."), sections)
        overridden.append(key)
    return parse_study(document, source, overridden)


def read_toml(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: If it cannot be read or is not valid TOML; names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_override(text: str) -> tuple[str, Document]:
    """Parse one ``section.key=value``.

    Returns:
        The dotted key, and a document with nothing but the value under it.

    Raises:
        ConfigError: If there is no ``=``, or nothing before it.
    """
    key, equals, value_text = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set reads section.key=value, got {text!r}")
    value = _parse_value(value_text.strip())
    for part in reversed(parts):
        value = {part: value}
    return ".".join(parts), value


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _merge(
    document: Document, change: Document, n_above: int, sections: Collection[str] = ()
) -> None:
    # Tables above the one that was named are kept, and so is a section; that table is replaced.
    for key, value in change.items():
        old = document.get(key)
        is_kept = n_above > 0 or key in sections
        if is_kept and isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value, n_above - 1)
        else:
            document[key] = value
