"""A study by name or file, with what ``--set`` changes."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpod_search.config.limits import check_values
from dpod_search.config.parse import Document
from dpod_search.config.parse import check_keys
from dpod_search.config.parse import parse_study
from dpod_search.config.study import StudyConfig
from dpod_search.config.study import find_sections
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.files import parse_toml
from dpod_search.files import read_bounded
from dpod_search.shipped import find_study


_MAX_BYTES = 1_000_000  # of a study file; one with every setting has 10,000
_SHOWN_PATH = 200  # characters of a path that messages show


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
    source = shorten(str(path), _SHOWN_PATH)
    check_keys(document, source)
    return _apply(document, source, overrides)


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
        check_keys(change, f"--set {shorten(text)}")
        _merge(document, change, key.count("."), sections)
        overridden.append(key)
    return parse_study(document, source, overridden)


def read_toml(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: If it cannot be read or is not valid TOML (names the line), or holds a value
            that no study may.
    """
    name = shorten(str(path), _SHOWN_PATH)
    try:
        # Some editors begin a file with a mark that it is UTF-8.
        document = parse_toml(read_bounded(path, _MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
    check_values(document, name)
    return document


def parse_override(text: str) -> tuple[str, Document]:
    """Parse one ``section.key=value``.

    Returns:
        The dotted key, and a document with nothing but the value under it.

    Raises:
        ConfigError: If there is no ``=``, or nothing before it, or the value is one that no study
            may hold.
    """
    key, equals, value_text = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(
            f"--set reads section.key=value, got {show(text)}; for instance search.n_trials=500"
        )
    try:
        value = _parse_value(value_text.strip())
    except ValueError as error:
        raise ConfigError(f"--set {shorten(text)}: the value cannot be read ({error})") from error
    for part in reversed(parts):
        value = {part: value}
    check_values(value, "--set")
    return ".".join(parts), value


def _parse_value(text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
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
