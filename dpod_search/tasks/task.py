"""What a task is: the only place that knows what a target means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from typing import get_args

from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.pareto import Direction


# What else stands beside metrics in the files of a run.
_RESERVED = frozenset(
    {"history", "key", "latency", "latency_ms", "macs", "params", "peak_bytes", "seconds"}
    | {"sha256", "trial", "weight_bytes", "widths"}
)


@dataclass(frozen=True)
class Metric:
    """A number that says how well a net does its task.

    Args:
        name: Its name in objectives, tables and figures.
        direction: Its sense.
        low: No value is below.
        high: No value is above.

    Raises:
        ConfigError: If the name is no identifier or means something else in a run's files, or the
            direction is none.
    """

    name: str
    direction: Direction
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        """Check what stands in the files of a run.

        Raises:
            ConfigError: If the name or the direction cannot.
        """
        name: object = self.name
        is_name = isinstance(name, str) and name.isidentifier()
        if not is_name or self.name.endswith("_before") or self.name in _RESERVED:
            raise ConfigError(
                f"a metric must have a name of letters, digits and '_' that does not end in _before "
                f"and is none of {', '.join(sorted(_RESERVED))}; got {show(self.name)}"
            )
        if self.direction not in get_args(Direction):
            raise ConfigError(
                f'metric {self.name} must have direction "minimize" or "maximize", got '
                f"{show(self.direction)}"
            )

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, in [0, 1]."""
        return (self.low, self.high) == (0.0, 1.0)

    def gain(self, value: float) -> float:
        """Return a value, or its opposite where less is better: larger is better."""
        return value if self.direction == "maximize" else -value


class Tally(Protocol):
    """Adds up what a net answers, batch by batch, to its metrics."""

    @property
    def n_samples(self) -> int:
        """Samples added so far."""

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, both as the task checked them, on one device."""

    def measure(self) -> Mapping[str, float]:
        """Return every metric of the task by its name; there is at least one sample."""

    def measure_quality(self) -> float:
        """Return how good the answers are in [0, 1]: larger is better, and every sample moves it.

        Shrinks are judged by it, where a few hundred samples must tell small differences.
        """


class Task(Protocol):
    """What a net is trained for: losses, metrics, and what outputs and targets look like.

    Frozen, and safe to send to another process.
    """

    @property
    def name(self) -> str:
        """What it is called in files and messages."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured; a training that stops early goes by the first."""

    def check_outputs(self, outputs: object, n_samples: int | None = None) -> Tensor:
        """Return the tensor that losses and metrics take, of what the model returned.

        Raises:
            ConfigError: If the model answers what this task cannot read.
        """

    def check_targets(self, targets: object, outputs: Tensor) -> Tensor:
        """Return the targets of a batch, as losses and metrics take them.

        Raises:
            DataError: If they do not fit the outputs, or lie out of range.
        """

    def compute_loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Args:
            outputs: From :meth:`check_outputs`.
            targets: From :meth:`check_targets`.
            label_smoothing: Share of every target that is spread over all classes, in [0, 1).

        Raises:
            ConfigError: If there is smoothing, and the task has no classes.
        """

    def distill(
        self,
        outputs: Tensor,
        full_outputs: Tensor,
        temperature: float = 1.0,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return how far a subnet's outputs are from the full net's, a scalar >= 0.

        Args:
            outputs: Of the subnet.
            full_outputs: Of the full net, same shape; no gradient flows into them.
            temperature: Logits are divided by it; of other outputs it means nothing.
            targets: From :meth:`check_targets`; places where they ask nothing are left out.
        """

    def make_tally(self) -> Tally:
        """Return a tally that has seen nothing."""


def find_metric(task: Task, name: str) -> Metric:
    """Return a metric of a task.

    Raises:
        ConfigError: If the task has none of the name.
    """
    for metric in task.metrics:
        if metric.name == name:
            return metric
    known = ", ".join(metric.name for metric in task.metrics)
    raise ConfigError(f"{task.name} measures {known}, not {name}; name one of them")


def refuse_smoothing(task: Task, label_smoothing: float) -> None:
    """Raise if labels are to be smoothed in a task that has no classes.

    Raises:
        ConfigError: If so.
    """
    if label_smoothing:
        raise ConfigError(
            f"training.label_smoothing = {label_smoothing:g} spreads targets over classes, and "
            f"{task.name} has none; set it to 0"
        )
