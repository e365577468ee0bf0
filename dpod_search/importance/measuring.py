"""Measuring the importance of units by a criterion. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Any
from typing import Protocol

import numpy as np
from torch import Tensor

from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.errors import check_choice
from dpod_search.errors import check_count
from dpod_search.importance.group_magnitude import score_group_magnitude
from dpod_search.importance.magnitude import score_magnitude
from dpod_search.importance.makers import Loss
from dpod_search.importance.taylor import score_taylor
from dpod_search.importance.units import LayerScores
from dpod_search.importance.units import UnitImportance
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.asking import ask_loss


class Criterion(Protocol):
    """Scores the units that every layer makes, or those that it reads besides."""

    def __call__(
        self, supernet: Supernet, batches: Batches, loss: Loss, /
    ) -> Sequence[LayerScores]:
        """Return scores >= 0 of any scale; must leave the supernet as it was."""


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "taylor": score_taylor,
        "magnitude": score_magnitude,
        "group_magnitude": score_group_magnitude,
    }
)


@dataclass(frozen=True)
class TaskLoss:
    """The loss of a task, as a function of what a net returned and of the targets.

    Args:
        task: What the net is trained for.
    """

    task: Task = field(default_factory=Classification)

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the mean over the batch."""
        there = self.task.check_outputs(outputs)
        return ask_loss(self.task, there, targets)


def measure_unit_importance(
    supernet: Supernet,
    batches: Batches = (),
    *,
    criterion: str = "taylor",
    n_batches: int = 16,
    loss: Loss = TaskLoss(),
) -> UnitImportance:
    """Measure how much each unit of every channel group matters to the full net.

    Args:
        supernet: Its full net should be trained, and hold BatchNorm statistics of its own:
            calibrate it at full width if subnets ran in training mode last. It is left as it was.
        batches: Pictures and labels that the net is trained on. Magnitudes need none.
        criterion: A key of ``CRITERIA``.
        n_batches: Batches to look at, at most.
        loss: Of what the net returns and the targets; ``TaskLoss(task)`` is that of a task.

    Returns:
        Scores that add up to 1.

    Raises:
        ConfigError: If the criterion is unknown, or the scores are zero everywhere or not finite.
        DataError: If the criterion needs batches, and there are none.
    """
    check_choice("criterion", criterion, CRITERIA)
    check_count("n_batches", n_batches, low=1, high=1_000_000)
    found = CRITERIA[criterion](supernet, islice(batches, n_batches), loss)
    for layer in found:
        if not np.all(np.isfinite(layer.scores)):
            raise ConfigError(
                f"importance by {criterion} is not finite in {layer.layer}; "
                "check the weights, the pictures and the loss"
            )
    total = sum(float(layer.scores.sum()) for layer in found)
    if not total > 0:
        raise ConfigError(
            f"importance by {criterion} is 0 in every layer; train the full net first"
        )
    return UnitImportance(
        criterion=criterion,
        full_widths=tuple(None if g.kind == "block" else g.full_width for g in supernet.groups),
        layers=tuple(replace(layer, scores=layer.scores / total) for layer in found),
    )
