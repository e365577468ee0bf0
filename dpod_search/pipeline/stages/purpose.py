"""What a run's task is, as its files say it."""

from __future__ import annotations

from dpod_search.records.metrics import Aim
from dpod_search.records.metrics import Purpose
from dpod_search.tasks import Task


def describe_purpose(task: Task) -> Purpose:
    """Return a task's name and metrics as the files of a run have them."""
    metrics = tuple(Aim(name=m.name, direction=m.direction) for m in task.metrics)
    return Purpose(name=task.name, metrics=metrics)
