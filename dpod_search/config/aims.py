"""What a study of another task than classification searches for, where it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.tasks import TaskSettings
from dpod_search.tasks import resolve_task


_DEFAULT = TaskSettings()


def fill_aims(document: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a document that has objectives if it names a task: its first metric, and macs.

    Args:
        document: A study as read from TOML. One whose sections are no tables comes back as it is.
        source: Where it came from, for the message.

    Raises:
        ConfigError: If there is no such task.
    """
    found = dict(document)
    task, search = found.get("task", {}), found.get("search", {})
    if not isinstance(task, dict) or not isinstance(search, dict) or "objectives" in search:
        return found
    name, arguments = task.get("name", _DEFAULT.name), task.get("arguments", {})
    if name == _DEFAULT.name or not isinstance(name, str) or not isinstance(arguments, dict):
        return found
    try:
        first = resolve_task(name, arguments).metrics[0]
    except ConfigError as error:
        raise ConfigError(f"{source}: [task]: {error}") from error
    found["search"] = {"objectives": [first.name, "macs"], **search}
    return found
