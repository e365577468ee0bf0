"""What a run's task is, as its files say it, and numbers that can stand in them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dpod_search.errors import TrainingError
from dpod_search.records.metrics import Aim
from dpod_search.records.metrics import Purpose
from dpod_search.tasks import Classification
from dpod_search.tasks import Task


def describe_purpose(task: Task) -> Purpose:
    """Return a task's name and metrics as the files of a run have them."""
    return Purpose(
        name=task.name,
        metrics=tuple(Aim(name=m.name, direction=m.direction) for m in task.metrics),
        counts_samples=counts_samples(task),
    )


def counts_samples(task: Task) -> bool:
    """Say whether a task's first metric is the share of samples that are classified rightly."""
    return isinstance(task, Classification) and task.metrics[0] == Classification.metrics[0]


def check_finite(metrics: Mapping[str, float], net: str, split: str) -> dict[str, float]:
    """Return the metrics of a net, if they are numbers.

    Args:
        metrics: By name.
        net: What it is called, for the message.
        split: On whose samples, for the message.

    Raises:
        TrainingError: If one is NaN or infinite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} of {net} is {value} on {split}: look for NaN among its samples and targets; "
                "if there is none, lower the learning rate"
            )
    return dict(metrics)
