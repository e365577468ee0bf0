"""Adds up, beside a task's own tally, the metrics that it was given."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from numbers import Real
from typing import Any
from typing import Protocol

import torch
from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.own_code import describe_error
from dpod_search.tasks.batches import describe_value
from dpod_search.tasks.outside import OutsideMetric
from dpod_search.tasks.outside import is_stateful
from dpod_search.tasks.task import Tally


class Comparing(Protocol):
    """A task that shows metrics from outside what they compare."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def compare(
        self, outputs: Tensor, targets: Tensor, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return outputs and targets as torchmetrics takes them.

        Args:
            outputs: From ``check_outputs``.
            targets: From ``check_targets``.
            whole: Keep their shape, and what is ignored.
        """


class OutsideTally:
    """A task's tally, and metrics from outside.

    Args:
        own: Of the task.
        task: Whose it is.
        metrics: What else it measures.
    """

    def __init__(self, own: Tally, task: Comparing, metrics: Sequence[OutsideMetric]) -> None:
        """Have seen nothing."""
        self._own = own
        self._task = task
        self._running = [_Running(metric, task.name) for metric in metrics]

    @property
    def n_samples(self) -> int:
        """Samples added so far."""
        return self._own.n_samples

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self._own.add(outputs, targets)
        compared: dict[bool, tuple[Tensor, Tensor]] = {}
        for running in self._running:
            whole = running.metric.whole
            if whole not in compared:
                compared[whole] = self._task.compare(outputs, targets, whole=whole)
            running.add(*compared[whole])

    def try_on(self, outputs: Tensor, targets: Tensor) -> None:
        """Try the others on a batch: where one fails it is told.

        Functions are not tried: on a few samples one may rightly raise.
        """
        for running in [each for each in self._running if each.adds_up]:
            running.add(*self._task.compare(outputs, targets, whole=running.metric.whole))
            running.measure()

    def measure(self) -> Mapping[str, float]:
        """Return the task's metrics, and the others."""
        found = dict(self._own.measure())
        return found | {running.metric.name: running.measure() for running in self._running}

    def measure_quality(self) -> float:
        """Return what the task's own tally does."""
        return self._own.measure_quality()


class _Running:
    def __init__(self, metric: OutsideMetric, task: str) -> None:
        self.metric = metric
        self._task = task
        self._made: Any = None
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._told = ""
        self._has_nan = False
        self.adds_up = is_stateful(metric.source)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        if not len(outputs):  # nothing is asked in this batch
            return
        self._told = f"{describe_value(outputs)} and {describe_value(targets)}"
        self._has_nan = self._has_nan or bool(outputs.isnan().any())
        if self._made is None:
            n_classes = outputs.shape[1] if outputs.ndim > 1 else 1
            self._made = self.metric.make(n_classes)
            if isinstance(self._made, torch.nn.Module):
                self._made.to(outputs.device)
        if not self.adds_up:
            self._kept.append((outputs.cpu(), targets.cpu()))
        elif not self._has_nan:
            self._call(self._made.update, outputs, targets)

    def measure(self) -> float:
        # What a metric makes of NaN depends on the metric, and on how samples are cut into batches.
        if self._has_nan or self._made is None:
            return float("nan")
        if self.adds_up:
            value = self._call(self._made.compute)
        else:
            outputs, targets = zip(*self._kept, strict=True)
            value = self._call(self._made, torch.cat(outputs), torch.cat(targets))
        if (isinstance(value, Tensor) and value.numel() == 1) or isinstance(value, Real):
            return float(value)
        raise ConfigError(
            f"metric {self.metric.name} must give one number, got {describe_value(value)}; have it "
            "averaged by its arguments, or take another"
        )

    def _call(self, function: Any, *given: Tensor) -> object:
        try:
            return function(*given)
        except DpodSearchError:
            raise
        except Exception as error:  # a metric may raise anything
            raise ConfigError(
                f"metric {self.metric.name} cannot read what {self._task} compares, {self._told}: "
                f"{describe_error(error)}"
            ) from error
