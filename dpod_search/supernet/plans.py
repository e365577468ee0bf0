"""What discovery finds: channel groups, frozen dimensions, and a plan for every layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dpod_search.supernet.layout import Layout


LayerKind = Literal["conv", "linear", "norm", "parameter"]


@dataclass(frozen=True)
class ChannelGroup:
    """Tensor dimensions that must share one width.

    Args:
        name: Path of the first layer that makes the dimension.
        full_width: Full width, in units.
        members: Paths of all the layers that make or carry it.
        unit: Channels of its first layer in a unit: 1, or more where a grouped layer needs whole
            groups. Widths count units.
    """

    name: str
    full_width: int
    members: tuple[str, ...]
    unit: int = 1


@dataclass(frozen=True)
class FrozenDimension:
    """A dimension that keeps its full width.

    Args:
        name: Path of the first layer that makes the dimension.
        full_width: Its width.
        reasons: Why it cannot be narrowed, with the line of the user's model where known.
    """

    name: str
    full_width: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class LayerPlan:
    """One convolution, linear or norm layer: all that slicing it and counting its cost need.

    Args:
        name: Path of the layer in the user's model.
        kind: What it is.
        output: Layout of its output channels.
        weight_input: Layout of dimension 1 of its weight (of size 1 if depthwise or norm).
        n_positions: Output positions per sample (height x width, say), over all its calls.
        kernel_numel: Kernel elements per pair of input and output channel; 0 for a norm.
        n_vectors: Parameters per output channel besides the weight of a convolution or linear
            layer: its bias, or the scale and shift of a norm.
        n_statistics: Floating-point buffers per output channel (mean and variance of a norm).
        itemsize: Bytes of one element of its parameters.
        axis: Of a parameter that the model's own code reads, the axis of its output channels.
    """

    name: str
    kind: LayerKind
    output: Layout
    weight_input: Layout
    n_positions: int
    kernel_numel: int
    n_vectors: int
    n_statistics: int
    itemsize: int
    axis: int = 0


@dataclass(frozen=True)
class Grouping:
    """What discovery found in a model.

    Args:
        groups: The elastic channel groups.
        frozen: The dimensions that stay as they are, each with its reasons.
        layers: A plan for every layer that is understood.
        uncounted: Operations whose macs no closed form covers (their parameters are counted).
        runs_channels_last: The model runs on channels-last tensors, which are faster.
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenDimension, ...]
    layers: tuple[LayerPlan, ...]
    uncounted: tuple[str, ...]
    runs_channels_last: bool = True


def plan_layer(
    name: str, module: nn.Module, weight_input: Layout, output: Layout, n_positions: int
) -> LayerPlan:
    """Read off a layer all that its plan needs."""
    own = dict(module.named_parameters(recurse=False))
    is_norm = isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm)
    kernel = getattr(module, "kernel_size", ())
    buffers = [b for b in module.buffers(recurse=False) if b.is_floating_point()]
    return LayerPlan(
        name=name,
        kind="norm" if is_norm else "conv" if kernel else "linear",
        output=output,
        weight_input=weight_input,
        n_positions=n_positions,
        kernel_numel=0 if is_norm else math.prod(kernel),
        n_vectors=len(own) if is_norm else len(own) - 1,
        n_statistics=len(buffers),
        itemsize=next((t.element_size() for t in (*own.values(), *buffers)), 4),
    )
