"""Layers of classes of the user's own: which of PyTorch's layers they compute as."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn


# Elastic twins exist for these: what a subclass of one may be run as.
_LAYERS: tuple[type[nn.Module], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.RMSNorm,
    nn.PReLU,
)  # fmt: skip  (a table)
# A subclass may replace these methods, and still computes what its base does.
_NOT_COMPUTING = frozenset(
    {
        "reset_parameters",
        "extra_repr",
        "train",
        "state_dict",
        "load_state_dict",
        "_save_to_state_dict",
        "_load_from_state_dict",
    }
)
_COMPUTING = frozenset({"__call__", "__getattr__", "__getattribute__", "__torch_function__"})
_TENSORS = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})


def base_layer(module: nn.Module) -> type[nn.Module] | None:
    """Return the layer of PyTorch's that a module is, or is a subclass of."""
    return next((held for held in type(module).__mro__ if held in _LAYERS), None)


def layer_type(module: nn.Module) -> type[nn.Module]:
    """Return the layer of PyTorch's that a module is, or computes as: a subclass adds names only.

    Args:
        module: Any module.

    Returns:
        Its own type where it is no such subclass.
    """
    kind: Any = type(module)
    base: type[nn.Module] = _base_of(kind)
    is_changed = "forward" in vars(module) or not holds_layer_tensors(module)
    return type(module) if is_changed else base


def holds_layer_tensors(module: nn.Module) -> bool:
    """Say whether a layer holds no parameters and buffers besides those of PyTorch's."""
    return {*module._parameters, *module._buffers} <= _TENSORS


@functools.cache
def _base_of(kind: Any) -> Any:
    base = next((held for held in kind.__mro__ if held in _LAYERS), kind)
    between = kind.__mro__[: kind.__mro__.index(base)]
    is_parametrized = any(held.__module__.startswith("torch.") for held in between)
    is_same = not is_parametrized and all(_only_adds_names(held, base) for held in between)
    return base if is_same else kind


def _only_adds_names(kind: type, base: type[nn.Module]) -> bool:
    for name, value in vars(kind).items():
        if name in _COMPUTING:
            return False
        if name.startswith("__") or name in _NOT_COMPUTING:
            continue
        # A property may stand for a tensor, which only instances have.
        if hasattr(base, name) or name in _TENSORS or hasattr(type(value), "__set__"):
            return False
    return True
