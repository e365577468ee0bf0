"""Early stopping: the weights that validation liked best, and when to look no further."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch import nn

from dpod_search.training.averaging import WeightAverage


# Looks that are spread evenly over a training.
N_LOOKS = 20


class EarlyStop:
    """Looks at the weights now and then, and keeps the best.

    Args:
        measure: How good a net is, higher is better. It gets a copy in training mode, to do with
            as it likes.
        patience: Looks without a new best after which the training ends, >= 1.

    References:
        Prechelt: Early Stopping -- But When?, 1998.
    """

    def __init__(self, measure: Callable[[nn.Module], float], patience: int) -> None:
        """Have seen nothing."""
        self._measure = measure
        self._patience = patience
        self._best: dict[str, Tensor] = {}
        self._scores: list[float] = []

    @staticmethod
    def is_due(step: int, n_steps: int) -> bool:
        """Say whether a look belongs after a step; there always is one after the last."""
        return (step + 1) * N_LOOKS // n_steps > step * N_LOOKS // n_steps

    def look(self, module: nn.Module, average: WeightAverage | None) -> bool:
        """Measure what would be delivered now.

        Args:
            module: The net in training; it is not changed.
            average: What would be delivered in place of its weights, if anything.

        Returns:
            Whether to end the training.
        """
        candidate = copy.deepcopy(module)
        if average is not None:
            average.fill(dict(candidate.named_parameters()))
        weights = {name: tensor.clone() for name, tensor in candidate.state_dict().items()}
        score = self._measure(candidate)
        if math.isnan(score):  # nothing would ever be better than that
            score = -math.inf
        if not self._scores or score > max(self._scores):
            self._best = weights
        self._scores.append(score)
        return len(self._scores) - 1 - self._scores.index(max(self._scores)) >= self._patience

    def deliver(self, module: nn.Module) -> None:
        """Put the best weights in the place of the module's, if any were seen."""
        if self._best:
            module.load_state_dict(self._best)

    @property
    def scores(self) -> list[float]:
        """What every look found, as a JSON value."""
        return self._scores

    def go_on(self, scores: list[Any]) -> None:
        """Take up the :attr:`scores` of an earlier process."""
        self._scores = [float(score) for score in scores]

    def state(self) -> dict[str, Tensor]:
        """Return the best weights by name."""
        return self._best

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self._best = weights
