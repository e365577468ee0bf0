"""From a TOML document to checked settings, every complaint in one line."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Collection
from collections.abc import Mapping
from functools import cache
from typing import Any
from typing import get_origin
from typing import get_type_hints

from pydantic import TypeAdapter
from pydantic import ValidationError

from dpod_search.config.aims import fill_aims
from dpod_search.config.given import fill_given
from dpod_search.config.limits import check_values
from dpod_search.config.study import StudyConfig
from dpod_search.config.study import find_sections
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show


Document = dict[str, Any]

# Pydantic speaks of JSON, the user writes TOML.
_WORDS = {
    "an object": "a table",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid integer": "a whole number",
    "a valid number": "a number",
}


def check_keys(document: Mapping[str, Any], source: str) -> None:
    """Raise unless a study has every key of a document.

    Args:
        document: A study, or a part of one, as read from TOML.
        source: Where it came from, for the message.

    Raises:
        ConfigError: If a section or a key is unknown; names the nearest that is known.
    """
    _check_keys(document, StudyConfig, "", source)


def parse_study(
    document: Mapping[str, Any], source: str, overridden: Collection[str] = ()
) -> StudyConfig:
    """Turn a document into a study.

    Args:
        document: A study as read from TOML; its keys are known ones.
        source: Where it came from, for the message.
        overridden: Dotted keys that came from ``--set`` instead.

    Returns:
        The study; what the document leaves out has its default.

    Raises:
        ConfigError: If a value is of the wrong type or out of range, or one that no study may hold.
    """
    check_values(document, source)
    document = fill_aims(document, source)
    # As JSON, because pydantic's strict mode then still takes lists for tuples and tables for
    # dataclasses, and integers for floats, but not "3" for 3.
    text = json.dumps(fill_given(document), allow_nan=False)
    try:
        return _make_adapter().validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(_describe(error, source, overridden)) from error


@cache
def _make_adapter() -> TypeAdapter[StudyConfig]:
    return TypeAdapter(StudyConfig)


def _check_keys(
    document: Mapping[str, Any], settings: type[Any], prefix: str, source: str
) -> None:
    known = [field.name for field in dataclasses.fields(settings)]
    sections = find_sections(settings)
    for key, value in document.items():
        if key not in known:
            kind = "section" if isinstance(value, dict) else "key"
            hint = _suggest(key, known, prefix)
            raise ConfigError(f"{source}: unknown {kind} {show(prefix + key)}; {hint}")
        if key in sections and isinstance(value, dict):
            _check_keys(value, sections[key], f"{prefix}{key}.", source)


def _suggest(key: str, known: list[str], prefix: str) -> str:
    near = [prefix + name for name in difflib.get_close_matches(key, known, n=1)]
    # A right name in a wrong section is a common slip.
    near += [path for path in list_keys(StudyConfig) if path.split(".")[-1] == key]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known {f'in [{prefix[:-1]}]' if prefix else 'here'}: {', '.join(known)}"


def list_keys(settings: type[Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of a settings class, without its sections themselves."""
    sections = find_sections(settings)
    keys = []
    for field in dataclasses.fields(settings):
        path = prefix + field.name
        section = sections.get(field.name)
        keys += [path] if section is None else list_keys(section, f"{path}.")
    return keys


def _describe(error: ValidationError, source: str, overridden: Collection[str]) -> str:
    first, *others = error.errors()
    if first["type"] == "value_error":  # raised by a settings class itself, in its own words
        text = str(first["ctx"]["error"])
        is_set = any(path in text for path in overridden)
        return f"{'--set' if is_set else source}: {text}"
    path = _to_key(first["loc"])
    # A value that may be of several types is reported once for each.
    messages = [first["msg"], *(e["msg"] for e in others if _to_key(e["loc"]) == path)]
    limits = [message.removeprefix("Input should be ") for message in messages]
    limit = " or ".join(dict.fromkeys(limits))
    for word, plain in _WORDS.items():
        limit = limit.replace(word, plain)
    is_set = any(f"{path}.".startswith(f"{key}.") for key in overridden)
    where = "--set" if is_set else source
    if first["type"] == "missing":
        return f"{where}: {path} is missing"
    got = first["input"]
    return f"{where}: {path} must be {limit}, got {show(got)}{_explain_text(path, limit, got)}"


def _explain_text(path: str, limit: str, got: object) -> str:
    """Say how a list is written at the keyboard, where a text is all that came of it."""
    if not isinstance(got, str) or not limit.startswith("a list"):
        return ""
    entries = [part.strip(" '\"") for part in got.strip("[] ").split(",")]
    return (
        f"; write {shorten(path + '=' + json.dumps(entries))} with single quotes around all of it"
    )


def _to_key(location: tuple[int | str, ...]) -> str:
    # Behind the key pydantic also names the position in a list, or the type it tried.
    path: list[str] = []
    settings: type[Any] | None = StudyConfig
    kind: Any = None
    for part in location:
        if settings is None:
            if get_origin(kind) is Mapping:
                path.append(str(part))  # the entry of a table, such as search.constraints.macs
            break
        path.append(str(part))
        kind = get_type_hints(settings).get(str(part))
        settings = find_sections(settings).get(str(part))
    return ".".join(path)
