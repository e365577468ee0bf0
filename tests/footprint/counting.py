"""The footprint of a plain net, counted by running it: what the closed forms must equal."""

from __future__ import annotations

import torch
from footprint.peak import measure_graph_peaks
from torch import Tensor
from torch import nn


TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)


def count_footprint(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Count macs, parameters, stored bytes and peak activations of a net as it is."""
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module.weight, Tensor)
        places = inputs[0] if isinstance(module, TRANSPOSED) else output
        macs += places.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, COUNTED)]
    was_training = model.training
    with torch.no_grad():
        model.eval()(example)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    peak, _ = measure_graph_peaks(model, example)
    stored = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    return {
        "macs": macs // len(example),
        "params": sum(p.numel() for p in model.parameters()),
        "weight_bytes": sum(t.numel() * t.element_size() for t in stored),
        "peak_bytes": peak.n_bytes // len(example),
    }
