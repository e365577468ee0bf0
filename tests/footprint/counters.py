"""Parameters and macs of a plain net, counted by PyTorch's own means: nothing of ours is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import nn
from torch.nn.attention import SDPBackend
from torch.nn.attention import sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """Count the elements of a net's parameters, each parameter once."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, images: Tensor) -> int:
    """Count multiply-accumulates per sample of every matrix product and convolution that runs."""
    counter = FlopCounterMode(display=False)
    # Neither the CPU's fused attention nor MultiheadAttention's fast path is in its table.
    with evaluating_unfused(model), sdpa_kernel(SDPBackend.MATH), counter:
        model(images)
    total = counter.get_total_flops()
    assert total % (2 * len(images)) == 0, "samples differ in their macs"
    return total // (2 * len(images))


@contextmanager
def evaluating_unfused(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, and without the fused attention that hides its operations."""
    modes = [(part, part.training) for part in model.modules()]
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
        for part, mode in modes:
            part.training = mode
