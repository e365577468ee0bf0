"""Asking a task, which may be a user's own: what it raises or returns amiss is told in one line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import cast

from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.own_code import own_code
from dpod_search.tasks.batches import describe_value
from dpod_search.tasks.outside import OutsideMetric
from dpod_search.tasks.outside_tally import Comparing
from dpod_search.tasks.outside_tally import OutsideTally
from dpod_search.tasks.task import Tally
from dpod_search.tasks.task import Task


def ask_loss(
    task: Task, outputs: Tensor, targets: object, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean loss of a batch, a scalar.

    Args:
        task: What the net is trained for.
        outputs: From the task's ``check_outputs``.
        targets: As the loader gives them, where the outputs are.
        label_smoothing: As the task's ``compute_loss`` takes it.

    Raises:
        ConfigError: If a task of the user's raises an error, or its loss is no scalar.
        DataError: If the targets do not fit.
    """
    with own_code(f"task {task.name}", ConfigError, called=task):
        there = task.check_targets(targets, outputs)
        loss: object = task.compute_loss(outputs, there, label_smoothing=label_smoothing)
    return _check_scalar(loss, task, "compute_loss")


def ask_distance(
    task: Task, outputs: Tensor, full_outputs: Tensor, temperature: float, targets: object
) -> Tensor:
    """Return how far a subnet's outputs are from the full net's, a scalar; errors as above."""
    with own_code(f"task {task.name}", ConfigError, called=task):
        there = task.check_targets(targets, outputs)
        distance: object = task.distill(outputs, full_outputs, temperature, there)
    return _check_scalar(distance, task, "distill")


def start_tally(task: Task) -> Tally:
    """Return a tally of all metrics of a task, those that it was given too; errors as above."""
    with own_code(f"task {task.name}", ConfigError, called=task):
        tally = task.make_tally()
    given = [metric for metric in task.metrics if isinstance(metric, OutsideMetric)]
    return OutsideTally(tally, cast(Comparing, task), given) if given else tally


def check_metrics(task: Task, outputs: Tensor, targets: object) -> None:
    """Try the metrics that a task was given on a batch; arguments and errors as of :func:`ask_loss`.

    What they give may be anything: on a few samples some are not defined.
    """
    tally = start_tally(task)
    if isinstance(tally, OutsideTally):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tally.try_on(outputs, task.check_targets(targets, outputs))


def add_batch(task: Task, tally: Tally, outputs: Tensor, targets: object) -> None:
    """Add a batch to a tally of a task; arguments and errors as of :func:`ask_loss`."""
    with own_code(f"task {task.name}", ConfigError, called=task):
        tally.add(outputs, task.check_targets(targets, outputs))


def ask_metrics(task: Task, tally: Tally) -> Mapping[str, float]:
    """Return the metrics of a task in its order.

    Raises:
        ConfigError: If a task of the user's raises an error, or leaves a metric out.
    """
    with own_code(f"task {task.name}", ConfigError, called=task):
        measured = tally.measure()
    missing = [metric.name for metric in task.metrics if metric.name not in measured]
    if missing:
        raise ConfigError(
            f"task {task.name} has metric {missing[0]}, and its tally measures "
            f"{', '.join(measured) or 'nothing'}; return every metric"
        )
    return {metric.name: float(measured[metric.name]) for metric in task.metrics}


def _check_scalar(loss: object, task: Task, method: str) -> Tensor:
    if isinstance(loss, Tensor) and loss.ndim == 0:
        return loss
    raise ConfigError(
        f"{method} of task {task.name} must return a scalar tensor, got {describe_value(loss)}; take "
        "the mean over the batch"
    )
