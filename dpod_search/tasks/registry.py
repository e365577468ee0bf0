"""The tasks by name: one is one file, and one line in ``TASKS``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.errors import check_choice
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path
from dpod_search.own_code import own_code
from dpod_search.tasks.classification import Classification
from dpod_search.tasks.language_model import LanguageModel
from dpod_search.tasks.multilabel import Multilabel
from dpod_search.tasks.regression import Regression
from dpod_search.tasks.segmentation import Segmentation
from dpod_search.tasks.sequence_labels import SequenceLabels
from dpod_search.tasks.task import Task


TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {
        "classification": Classification,
        "multilabel": Multilabel,
        "segmentation": Segmentation,
        "regression": Regression,
        "sequence-labels": SequenceLabels,
        "language-model": LanguageModel,
    }
)

_MEMBERS = ("check_outputs", "check_targets", "compute_loss", "distill", "make_tally")


def resolve_task(task: str | Task, options: Mapping[str, Any] = MappingProxyType({})) -> Task:
    """Make a task.

    Args:
        task: A key of ``TASKS``; the import path of a task's class, as ``package.module:name``; or
            a task itself, which takes no options.
        options: Its arguments.

    Raises:
        ConfigError: If the name or an option is unknown or out of range, or what is made is no task.
    """
    if isinstance(task, str):
        is_own = is_import_path(task)
        if not is_own:
            check_choice("task", task, TASKS)
        make = import_object(task) if is_own else TASKS[task]
        with own_code(f"task {task}", ConfigError):
            made: Task = call_with(make, options, name=f"task {task}")
    elif options:
        raise ConfigError(f"a task that is made has its options already, got {dict(options)}")
    else:
        made = task
    if isinstance(made, type):
        raise ConfigError(f"give a task, not its class: {made.__name__}()")
    if not isinstance(getattr(made, "name", ""), str):
        raise ConfigError(f"a task of type {type(made).__name__} must have a text as its name")
    missing = [name for name in _MEMBERS if not callable(getattr(made, name, None))]
    missing += [name for name in ("name", "metrics") if not getattr(made, name, None)]
    if missing:
        raise ConfigError(
            f"a task of type {type(made).__name__} lacks {', '.join(missing)}; see docs/tasks.md"
        )
    return made
