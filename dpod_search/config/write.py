"""A study as TOML that loads back to the same study, and the difference of two."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from dpod_search.config.parse import parse_study
from dpod_search.config.study import StudyConfig
from dpod_search.errors import ConfigError
from dpod_search.escaping import quote_toml


_NOT_SET = "(not set)"


def dump_toml(config: StudyConfig) -> str:
    """Write a study as TOML, every setting in it except those that are None.

    Returns:
        Text that loads back to an equal study.

    Raises:
        ConfigError: If a setting cannot be written: None where the default is another value, or
            a value TOML has no form for.
    """
    try:
        text = tomli_w.dumps(_to_document(config))
    except TypeError as error:
        raise ConfigError(f"study {config.name!r} cannot be written as TOML: {error}") from error
    changed = diff(config, parse_study(tomllib.loads(text), config.name))
    if changed:
        raise ConfigError(f"study {config.name!r} does not survive TOML: {'; '.join(changed)}")
    return text


def diff(config_a: StudyConfig, config_b: StudyConfig) -> list[str]:
    """List the settings in which two studies differ.

    Returns:
        One line a setting, ``section.key: a -> b``, in the order of the sections.
    """
    flat_a, flat_b = flatten(config_a), flatten(config_b)
    lines = []
    for key in dict.fromkeys([*flat_a, *flat_b]):
        a, b = flat_a.get(key, _NOT_SET), flat_b.get(key, _NOT_SET)
        if a != b:
            lines.append(f"{key}: {a} -> {b}")
    return lines


def format_value(value: Any) -> str:
    """Write one value as TOML on one line, keys sorted; None as ``(not set)``."""
    if value is None:
        return _NOT_SET
    if isinstance(value, str):
        return quote_toml(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        items = [
            f"{format_value(str(key))} = {format_value(item)}"
            for key, item in sorted(value.items())
        ]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    return str(value)


def _to_document(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: _to_document(item) for key, item in items.items() if item is not None}
    if isinstance(value, Mapping):
        return {key: _to_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_document(item) for item in value]
    return value


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Return every setting of a study, or of a section of it, as TOML by its dotted key."""
    flat: dict[str, str] = {}
    for field in dataclasses.fields(value):
        key, item = f"{prefix}{field.name}", getattr(value, field.name)
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            flat |= flatten(item, f"{key}.")
        elif isinstance(item, Mapping):
            flat |= {f"{key}.{inner}": format_value(it) for inner, it in item.items()}
        else:
            flat[key] = format_value(item)
    return flat
