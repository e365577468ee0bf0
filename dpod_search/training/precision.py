"""In which precision a training runs its nets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpod_search.tasks import Task


PRECISIONS = ("float32", "bfloat16")


def compute_outputs(
    run: Callable[[Tensor], object], images: Tensor, task: Task, precision: str = "float32"
) -> Tensor:
    """Run a net forward in a precision.

    Args:
        run: The net.
        images: Samples on its device.
        task: What its outputs are for.
        precision: ``bfloat16`` runs convolutions and matrix products in it; weights, statistics
            and gradients of weights stay float32.

    Returns:
        What the task takes, in float32 so that losses are.

    Raises:
        ConfigError: If the net returns what the task cannot read.
    """
    if precision == "float32":
        return task.check_outputs(run(images), len(images))
    # The backward pass runs outside, as PyTorch advises: it takes the forward's precisions.
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        return task.check_outputs(run(images), len(images)).float()
