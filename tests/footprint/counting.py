"""The footprint of a plain net, counted by running it: what the closed forms must equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn


COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def count_footprint(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Count macs per sample, parameters and stored bytes of a net as it is."""
    macs = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module.weight, Tensor)
        macs += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, COUNTED)]
    was_training = model.training
    with torch.no_grad():
        model.eval()(example)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    stored = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    return {
        "macs": macs // len(example),
        "params": sum(p.numel() for p in model.parameters()),
        "weight_bytes": sum(t.numel() * t.element_size() for t in stored),
    }
