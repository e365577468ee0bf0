"""In which precision a training runs its nets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpod_search.classification import check_scores


PRECISIONS = ("float32", "bfloat16")


def compute_scores(
    run: Callable[[Tensor], Tensor], images: Tensor, precision: str = "float32"
) -> Tensor:
    """Run a net forward in a precision.

    Args:
        run: The net.
        images: Pictures on its device.
        precision: ``bfloat16`` runs convolutions and matrix products in it; weights, statistics
            and gradients of weights stay float32.

    Returns:
        Scores (N, n_classes), in float32 so that losses are.

    Raises:
        ConfigError: If the net returns anything else.
    """
    if precision == "float32":
        return check_scores(run(images), len(images))
    # The backward pass runs outside, as PyTorch advises: it takes the forward's precisions.
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        return check_scores(run(images), len(images)).float()
