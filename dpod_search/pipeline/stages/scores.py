"""What a net gives on samples, as against what is written of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpod_search.data.loader import Batch
from dpod_search.errors import ExportError
from dpod_search.evaluation import measure
from dpod_search.pipeline.stages.purpose import counts_samples
from dpod_search.placement import Placement
from dpod_search.quantities import label
from dpod_search.quantities import spell
from dpod_search.tasks import Metric
from dpod_search.tasks import Task


# Of a metric that has no end, such as an error: below this all is rounding.
_LEAST = 1e-6
# By how much rounding may move a metric that is not counted sample by sample, of its scale.
_ROUNDING = 0.002


@dataclass(frozen=True)
class Score:
    """How a model does on some samples.

    Args:
        metrics: The task's metrics by name.
        n_samples: How many they are.
        slack: By how much rounding may move the first metric.
    """

    metrics: Mapping[str, float]
    n_samples: int
    slack: float


def score_model(
    model: Callable[..., Any],
    batches: Iterable[Batch],
    task: Task,
    *,
    tolerance: float,
) -> Score:
    """Measure a reloaded model, on the CPU.

    Args:
        model: Takes samples, returns what the task reads.
        batches: Samples with targets.
        task: What is measured.
        tolerance: Outputs may differ by this, relative to the largest. Two logits of a classifier
            that are nearer than this are a draw, and either may win.
    """
    metric, draws = task.metrics[0], _Draws(task, tolerance)
    found = measure(draws.watch(model), batches, Placement(torch.device("cpu")), task)
    scale = find_scale(metric, found.metrics[metric.name])
    slack = draws.n / found.n_samples if draws.counts else _ROUNDING * scale
    return Score(found.metrics, found.n_samples, slack)


class _Draws:
    """Counts samples of a classifier whose two largest logits are as near as rounding moves them."""

    def __init__(self, task: Task, tolerance: float) -> None:
        self.counts = counts_samples(task)
        self.n = 0
        self._task = task
        self._tolerance = tolerance

    def watch(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs the model and counts."""
        return self._run_and_count(model) if self.counts else model

    def _run_and_count(self, model: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Tensor:
            logits = self._task.check_outputs(model(*args, **kwargs))
            best = logits.topk(min(2, logits.shape[1]), dim=1).values
            gap = (best[:, 0] - best[:, -1]) / logits.abs().amax().clamp(min=1e-12)
            self.n += int((gap <= 2 * self._tolerance).sum())  # both may move
            return logits

        return run


def find_scale(metric: Metric, value: float) -> float:
    """Return what a difference of a metric is measured by: of one that ends at a number 1, else itself."""
    return 1.0 if math.isfinite(metric.high) else max(abs(value), _LEAST)


def is_same(metric: Metric, got: float, stated: float, *, n_samples: int, share: float) -> bool:
    """Say whether two measurements of one net agree: sums round as the machine adds.

    Args:
        metric: What was measured.
        got: Now.
        stated: Before.
        n_samples: On how many samples; of a share one on the edge may change, whatever ``share`` is.
        share: Largest difference, of :func:`find_scale`.
    """
    slack = share * find_scale(metric, stated)
    return abs(got - stated) <= max(slack, 1.5 / n_samples if metric.is_share else 0.0)


def check_exported(
    score: Score, metric: Metric, stated: Mapping[str, float], *, file: str, split: str = "test"
) -> None:
    """See that a file gives what the front states.

    Args:
        score: What the file gives.
        metric: What is compared.
        stated: The model's metrics in ``front.json``.
        file: For the message.
        split: Whose samples they are, for the message.

    Raises:
        ExportError: If they differ by more than rounding allows: what was scored is not what would
            be delivered.
    """
    got, wanted = score.metrics[metric.name], stated[metric.name]
    # Half a sample, where samples are counted: the two are quotients of whole numbers then.
    if abs(got - wanted) > score.slack + 0.5 / score.n_samples * metric.is_share:
        raise ExportError(
            f"{file} has {label(metric.name)} {spell(metric.name, got)} on {score.n_samples} {split} "
            f"samples, and front.json says {spell(metric.name, wanted)}: what was scored is not what "
            "would be delivered (stale BatchNorm statistics, or a file of another model); delete its "
            "folder in finetuned/ and run the same command again"
        )
