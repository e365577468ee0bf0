"""In which precision a training runs its nets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpod_search.inputs import Samples
from dpod_search.inputs import call_on
from dpod_search.inputs import call_with_samples
from dpod_search.inputs import count_samples
from dpod_search.tasks import Task


PRECISIONS = ("float32", "bfloat16")


def compute_outputs(
    run: Callable[..., object], samples: Samples, task: Task, precision: str = "float32"
) -> Tensor:
    """Run a net forward in a precision.

    Args:
        run: The net.
        samples: One tensor or several inputs, on its device.
        task: What its outputs are for.
        precision: ``bfloat16`` runs convolutions and matrix products in it; weights, statistics
            and gradients of weights stay float32.

    Returns:
        What the task takes, in float32 so that losses are.

    Raises:
        ConfigError: If the net returns what the task cannot read.
    """
    n_samples = count_samples(samples)
    if precision == "float32":
        return task.check_outputs(call_on(run, samples), n_samples)
    # The backward pass runs outside, as PyTorch advises: it takes the forward's precisions.
    device = call_with_samples(samples).leading.device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        return task.check_outputs(call_on(run, samples), n_samples).float()
