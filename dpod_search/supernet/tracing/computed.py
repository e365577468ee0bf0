"""Layers of PyTorch's whose weight is computed before they run: which of them are looked into.

``torch.nn.utils`` has two ways to do so, parametrizations and hooks. Where the weight is computed
from parameters alone the trace shows how, and they are cut as any that a model's code reads. What
keeps numbers of the whole weight in buffers, as spectral normalisation does, is left whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm


_BY_PARAMETRIZATION = ".parametrizations."


def computes_weight(module: nn.Module) -> bool:
    """Say whether a convolution or linear layer computes its tensors from parameters alone."""
    if not isinstance(module, (_ConvNd, nn.Linear)):
        return False
    if parametrize.is_parametrized(module):
        return not list(buffers_of_steps(module))
    hooks = module._forward_pre_hooks.values()
    return bool(hooks) and all(isinstance(hook, WeightNorm) for hook in hooks)


def is_step(module: nn.Module) -> bool:
    """Say whether a module is a part of a parametrization of PyTorch's."""
    return type(module).__module__.startswith("torch.nn.utils.") and not isinstance(
        module, (_ConvNd, nn.Linear)
    )


def buffers_of_steps(module: nn.Module) -> Iterator[str]:
    """Yield the names of the buffers that the parametrizations of a module keep."""
    steps = getattr(module, "parametrizations", None)
    if isinstance(steps, nn.ModuleDict):
        yield from (name for name, _ in steps.named_buffers())


def compute_anew(module: nn.Module) -> None:
    """Let hooks compute the tensors of a module whose parameters were cut."""
    with torch.no_grad():  # a tensor with a history cannot be copied
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                hook(module, ())


def holder_of(parameter: str) -> str:
    """Return the path of the module that a parameter belongs to, empty for the model itself.

    Args:
        parameter: Its path; one that a weight is computed from belongs to the layer.
    """
    if _BY_PARAMETRIZATION in parameter:
        return parameter.partition(_BY_PARAMETRIZATION)[0]
    return parameter.rpartition(".")[0]
