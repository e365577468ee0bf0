"""A study file to start from: every setting, its meaning and its default, ready to uncomment."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dpod_search.config.limits import check_values
from dpod_search.config.study import StudyConfig
from dpod_search.config.study import find_sections
from dpod_search.config.write import format_value


_HEAD = """\
# A study of dpod-search. Run it with: dpod-search run --study <this file>
# A line "#key = value" shows a default; remove the # to change it.
# Where it shows "(not set)", put a value of your own.

"""


# Of sources whose targets leave no choice.
_TASKS: Mapping[str, str] = MappingProxyType(
    {"segmentation": "segmentation", "text": "language-model", "diabetes": "regression"}
)


def template(
    model: str | None = None,
    data: str | None = None,
    name: str | None = None,
    *,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Write a commented study file.

    Args:
        model: Value of ``model.name``, or None to leave the default commented out.
        data: Value of ``data.name``, or None likewise. One that has a task of its own names that too.
        name: Name of the study, or None to take that of the file.
        values: Other settings that are not left commented out, by their dotted keys.

    Returns:
        TOML that loads without error.

    Raises:
        ConfigError: If a value is none that a study may hold, because it is no UTF-8 for instance.
    """
    given: dict[str, Any] = {"name": name, "model.name": model, "data.name": data}
    task = find_task(data or "")
    given |= {} if task is None else {"task.name": task}
    given |= values
    check_values(given, "a study file")
    # The name is the only setting without a default; it stands commented out here.
    text = _HEAD + "".join(_write_settings(StudyConfig(name or "my_study"), "", given))
    return text.rstrip("\n") + "\n"


def find_task(data: str) -> str | None:
    """Return the task of a source whose targets leave no choice, by its ``data.name``, or None."""
    return _TASKS.get(data.partition(":")[0])


def describe_fields(settings: type[Any]) -> dict[str, str]:
    """Return what a settings class and its bases say of each field, on one line each."""
    names = getattr(settings, "__dataclass_fields__", {})
    meanings: dict[str, str] = {}
    for kind in reversed(settings.__mro__):
        meanings |= _read_docstring(inspect.cleandoc(kind.__doc__ or ""))
    return {name: meanings[name] for name in names if name in meanings}


def _read_docstring(text: str) -> dict[str, str]:
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        return {}
    entries = re.split(r"^ {4}(?=\w)", found[1], flags=re.MULTILINE)[1:]
    pairs = (entry.partition(":") for entry in entries)
    return {name: " ".join(meaning.split()).replace("``", "") for name, _, meaning in pairs}


def _write_settings(settings: Any, path: str, given: Mapping[str, Any]) -> list[str]:
    sections = find_sections(type(settings))
    meanings = describe_fields(type(settings))
    parts = []
    for field in dataclasses.fields(settings):
        if field.name in sections:
            continue
        key = f"{path}{field.name}"
        parts.append(_comment(meanings.get(field.name, "")))
        parts.append(_write_value(field.name, getattr(settings, field.name), given.get(key)))
    for name in sections:
        meaning = _comment(meanings.get(name, ""))
        parts.append(f"\n{meaning}[{path}{name}]\n")
        parts += _write_settings(getattr(settings, name), f"{path}{name}.", given)
    return parts


def _write_value(key: str, default: Any, given: Any) -> str:
    if given is not None:
        return f"{key} = {format_value(given)}\n"
    return f"#{key} = {format_value(default)}\n"


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, width=95, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)
