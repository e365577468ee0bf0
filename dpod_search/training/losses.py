"""Losses: cross-entropy on labels, and distillation from the full net's answers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distill(scores: Tensor, full_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the Kullback-Leibler divergence of a subnet's answers from the full net's.

    Args:
        scores: Logits of the subnet, shape (N, n_classes).
        full_scores: Logits of the full net, same shape; no gradient flows into them.
        temperature: Both are divided by it; the loss is multiplied by its square.

    Returns:
        The mean over pictures, >= 0.

    References:
        Hinton et al.: Distilling the Knowledge in a Neural Network, 2015, section 2
        (arXiv 1503.02531). In place, from the same step's full net: Yu and Huang, 2019,
        section 3.3 (arXiv 1903.05134).
    """
    wanted = functional.log_softmax(full_scores.detach() / temperature, dim=1)
    got = functional.log_softmax(scores / temperature, dim=1)
    loss = functional.kl_div(got, wanted, reduction="batchmean", log_target=True)
    return loss * temperature**2
