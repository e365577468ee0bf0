"""A moving average of the weights, which is what a training can deliver in place of the last.

Training itself goes on with the weights as they are, and so does the scoring of the path; only
at the end the average takes their place. BatchNorm's statistics are not averaged: they are
estimated anew from the delivered weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch import nn


class WeightAverage:
    """The exponential moving average of a module's parameters.

    Args:
        module: The net in training; the average begins with its weights.
        decay: Share of the old average that a step keeps, in [0, 1), once enough steps are done.
            At step t it is at most (1 + t) / (10 + t), so that the first weights do not linger
            in a short training.

    References:
        Polyak and Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992. The
        rising decay is that of TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin with the weights as they are."""
        self._decay = decay
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._averages = {n: p.detach().clone() for n, p in self._parameters.items()}

    def update(self, step: int) -> None:
        """Move the average towards the weights that a step has left."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        weights = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self._averages.values()), weights, share)

    def state(self) -> dict[str, Tensor]:
        """Return the averages by the parameters' names."""
        return self._averages

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            ValueError: If names or shapes are not those of the module.
        """
        shapes = {name: average.shape for name, average in self._averages.items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise ValueError("the averages are of other weights")
        for name, weight in weights.items():
            self._averages[name].copy_(weight)

    def deliver(self) -> None:
        """Put the average in the place of the weights."""
        self.fill(self._parameters)

    def fill(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Copy the average into parameters of the same names, of a copy of the module for instance."""
        with torch.no_grad():
            for name, average in self._averages.items():
                parameters[name].copy_(average)
