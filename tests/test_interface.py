"""What users have written against still stands: public names, their signatures, and TOML keys.

``interface.txt`` holds them, a line each, as they were when somebody last looked. Whoever takes one
away or changes it on purpose renews the file with ``python tests/test_interface.py``, reads the
difference, and tells users in the changelog. What is new breaks nothing, and waits there for the
next one to renew it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import fields
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import dpod_search
from dpod_search.config import StudyConfig
from dpod_search.tasks.outside import TakenMetrics


STORED = Path(__file__).with_name("interface.txt")

# Where a type is defined, and where an object lies in memory, is nobody's business.
_PLACES = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])| at 0x[0-9a-f]+|['\"]")


def list_interface() -> Iterator[str]:
    """Return a line for each public name, each method of a class and each key of a study."""
    name = dpod_search.__name__
    parts = [part.name for part in pkgutil.iter_modules(dpod_search.__path__) if part.ispkg]
    for module in map(importlib.import_module, (name, *(f"{name}.{part}" for part in parts))):
        for public in sorted(getattr(module, "__all__", ())):
            for line in _describe(public, getattr(module, public)):
                yield f"{module.__name__}: {line}"
    for line in _list_keys(StudyConfig(name="any")):
        yield f"study file: {line}"


def _describe(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, type):
        yield f"{name}{_spell(value)}"
        return
    # What a class inherits from a library changes with the library.
    ours = [kind for kind in value.__mro__ if kind.__module__.startswith(dpod_search.__name__)]
    is_protocol = getattr(value, "_is_protocol", False)
    is_made = not is_protocol and any("__init__" in vars(kind) for kind in ours)
    yield f"class {name}{_sign(value) if is_made else ''}"
    named = {field.name for field in fields(value)} if is_dataclass(value) else set()
    named -= {"metrics"}  # of a task: those that it has in any case
    for member in sorted({member for kind in ours for member in vars(kind)} - named):
        if not member.startswith("_"):
            yield f"{name}.{member}{_spell(_find(value, member))}"


def _find(kind: type, member: str) -> Any:
    found = inspect.getattr_static(kind, member, None)
    return found.own if isinstance(found, TakenMetrics) else found


def _spell(value: Any) -> str:
    function = getattr(value, "__func__", value)  # of a class method
    if inspect.isfunction(inspect.unwrap(function)):
        return _sign(function)
    if isinstance(value, Mapping | tuple):
        return f" = {', '.join(str(getattr(entry, 'name', entry)) for entry in value)}"
    return f" = {value!r}" if isinstance(value, str | int | float) else ""


def _sign(function: Any) -> str:
    return _PLACES.sub("", str(inspect.signature(function)))


def _list_keys(settings: Any, section: str = "") -> Iterator[str]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _list_keys(value, f"{section}{field.name}.")
        else:
            yield f"{section}{field.name} = {value!r}"


def test_names_signatures_and_keys_are_as_they_were() -> None:
    gone = set(STORED.read_text(encoding="utf-8").splitlines()) - set(list_interface())
    assert not gone, "changed or taken away:\n" + "\n".join(sorted(gone))


if __name__ == "__main__":
    STORED.write_text("".join(f"{line}\n" for line in list_interface()), encoding="utf-8")
