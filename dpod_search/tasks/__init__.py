"""What nets are trained for: a task is one file, and one line in ``TASKS``."""

from __future__ import annotations

from dpod_search.tasks.classification import Classification
from dpod_search.tasks.language_model import LanguageModel
from dpod_search.tasks.multilabel import Multilabel
from dpod_search.tasks.registry import TASKS
from dpod_search.tasks.registry import resolve_task
from dpod_search.tasks.regression import Regression
from dpod_search.tasks.segmentation import Segmentation
from dpod_search.tasks.sequence_labels import SequenceLabels
from dpod_search.tasks.settings import TaskSettings
from dpod_search.tasks.task import Metric
from dpod_search.tasks.task import Tally
from dpod_search.tasks.task import Task
from dpod_search.tasks.task import find_metric


__all__ = [
    "TASKS",
    "Classification",
    "LanguageModel",
    "Metric",
    "Multilabel",
    "Regression",
    "Segmentation",
    "SequenceLabels",
    "Tally",
    "Task",
    "TaskSettings",
    "find_metric",
    "resolve_task",
]
