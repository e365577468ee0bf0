"""What a study file says about its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from dpod_search.imports import is_import_path
from dpod_search.tasks.outside import runs_own_code
from dpod_search.tasks.registry import resolve_task
from dpod_search.tasks.task import Task


@dataclass(frozen=True)
class TaskSettings:
    """What the model is trained for.

    Args:
        name: ``classification``, ``multilabel``, ``segmentation``, ``regression``,
            ``sequence-labels``, ``language-model``, or your own class as ``package.module:name``.
        arguments: Keyword arguments of the task, for instance ``{ ignored = 11 }``; ``metrics`` adds
            some of torchmetrics or your own.

    Raises:
        ConfigError: If a built-in task is unknown or does not take the arguments.
    """

    name: str = "classification"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the task once, unless that would run a user's code."""
        if not is_import_path(self.name) and not runs_own_code(self.arguments.get("metrics")):
            self.make()

    @property
    def is_default(self) -> bool:
        """Whether nothing but the default was asked for."""
        return self == TaskSettings()

    def make(self) -> Task:
        """Return the task; errors as of :func:`~dpod_search.tasks.resolve_task`."""
        return resolve_task(self.name, self.arguments)
