"""What finetuning delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn

from dpod_search.placement import Placement
from dpod_search.placement import placement_of
from dpod_search.widths import Widths


@dataclass(frozen=True, eq=False)
class FinetunedSubnet:
    """A plain module, trained on, with what is known of it.

    Args:
        module: The extracted subnet, in evaluation mode, statistics calibrated.
        widths: The widths it was extracted at.
        footprint: Its footprints by name.
        input_shape: Shape (C, ...) of one sample.
        accuracy_before: On the validation batches, inside the supernet; None without them.
        accuracy: On the validation batches, as delivered; None without them.
        history: Step, lr and losses.
        seconds: Time training took, in all processes that worked on it up to their last
            checkpoints.
    """

    module: nn.Module
    widths: Widths
    footprint: Mapping[str, float]
    input_shape: tuple[int, ...]
    accuracy_before: float | None = None
    accuracy: float | None = None
    history: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0

    def __call__(self, images: Tensor) -> Tensor:
        """Run the module on a batch, so that custom objectives can look at it like a subnet."""
        result: Tensor = self.module(images)
        return result

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""
        return placement_of(self.module)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.placement.device

    def extract(self) -> nn.Module:
        """Return the module, which is plain already."""
        return self.module
