"""Convolutions: how channels pass through them, and how they run narrow."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from typing import ClassVar

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.kind import Regression
from dpod_search.supernet.layers.kind import lay_out_channels
from dpod_search.supernet.layers.own_calls import plan_own
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layers.state import take_active
from dpod_search.supernet.layers.weight_calls import convolve_by
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracked import Attribute
from dpod_search.supernet.tracing.tracked import TrackedInt


_FUNCTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def convolve(discovery: Discovery, node: fx.Node) -> Axes:
    """Convolution: new output channels; a grouped one is narrowed by whole groups."""
    module = discovery.module(node)
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    axes = plan_convolution(discovery, node, str(node.target), module)
    if axes and module.padding_mode != "zeros":
        source = discovery.first_input(node)
        discovery.scratch[node] = (_hold_padded(discovery, source, module),)
    return axes


def plan_convolution(
    discovery: Discovery, node: fx.Node, name: str, module: nn.Conv1d | nn.Conv2d | nn.Conv3d
) -> Axes:
    """Record a convolution.

    Args:
        discovery: The walk.
        node: The operation that convolves, its input the first argument.
        name: Path of the module.
        module: Whose weight it is.
    """
    source = argument(node, 0, "input", None)
    n_spatial = len(module.kernel_size)
    if len(discovery.shapes[source]) != n_spatial + 2:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is given pictures without a batch dimension")
    discovery.freeze_axes(source, f"{discovery.where(node)} slides over it", but=1)
    inputs, weight_input, output = make_channels(discovery, node, name, module)
    discovery.record(node, inputs=inputs, weight_input=weight_input, output=output, name=name)
    return {1: output}


def make_channels(
    discovery: Discovery, node: fx.Node, name: str, module: _ConvNd
) -> tuple[Layout, Layout, Layout]:
    """Return the layouts of its input, of dimension 1 of a weight with outputs first, and of its output."""
    inputs = discovery.layout(argument(node, 0, "input", None), 1)
    if module.groups == 1:
        known = discovery.layers.get(name)
        output = known.output if known else discovery.dims.add(module.out_channels, name)
        return inputs, inputs, output
    per_group = module.in_channels // module.groups
    if keep_groups_whole(discovery, node, inputs, per_group):
        output = scale(inputs, Fraction(module.out_channels, module.in_channels))
        return inputs, fixed(per_group), output
    return fixed(module.in_channels), fixed(per_group), fixed(module.out_channels)


def convolve_own(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.conv2d`` and its like in a layer's own forward."""
    held = ("weight", "bias")
    return plan_own(discovery, node, CONV, held, _plan_own, otherwise=convolve_by)


def _plan_own(
    discovery: Discovery, node: fx.Node, name: str, module: nn.Conv1d | nn.Conv2d | nn.Conv3d
) -> Axes | None:
    groups = argument(node, 6, "groups", 1)
    origin = groups.origin if isinstance(groups, TrackedInt) else None
    is_its_own = module.groups == 1 if groups == 1 else origin == Attribute(name, "groups")
    return plan_convolution(discovery, node, name, module) if is_its_own else None


def _hold_padded(
    discovery: Discovery, source: fx.Node, module: nn.Conv1d | nn.Conv2d | nn.Conv3d
) -> Scratch:
    """Return the padded input that a convolution makes first, beside its result."""
    sides = module._reversed_padding_repeated_twice[::-1]
    amounts = [0, 0, *(low + high for high, low in zip(sides[::2], sides[1::2], strict=True))]
    axes = [discovery.layout(source, axis) for axis in range(len(amounts))]
    padded = tuple((*axis, *fixed(more)) for axis, more in zip(axes, amounts, strict=True))
    return Scratch(((float(module.weight.element_size()), padded),), has_result=True)


class ElasticKernel(ElasticLayer, _ConvNd):
    """What both kinds of convolution share."""

    plain_type: ClassVar[Callable[..., nn.Module]]
    convolve: ClassVar[Callable[..., Tensor]]

    def _conv_groups(self) -> int:
        # A grouped convolution keeps the size of its groups and has fewer of them.
        if self.groups == 1:
            return 1
        return self._active_size() // (self.out_channels // self.groups)


class ElasticConv(ElasticKernel):
    """A convolution that can run at several widths; one subclass per number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve with the active part of the weight; shapes as the plain layer's."""
        weight, bias = self._active()
        padding = self.padding
        if self.padding_mode != "zeros":
            input = functional.pad(
                input, self._reversed_padding_repeated_twice, mode=self.padding_mode
            )
            padding = (0,) * len(self.kernel_size)
        return type(self).convolve(
            input, weight, bias, self.stride, padding, self.dilation, self._conv_groups()
        )

    def extract(self) -> nn.Module:
        """Return a plain convolution of the active size with copies of the active weights."""
        weight, bias = self._active()
        conv_groups = self._conv_groups()
        plain = self.plain_type(
            in_channels=weight.shape[1] * conv_groups,
            out_channels=weight.shape[0],
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=conv_groups,
            bias=bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
        )
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        return take_active(self.weight, self.bias, self.plan, self.state)

    def _sizes(self, parts: Mapping[str, Tensor]) -> dict[str, int]:
        n_outputs, n_inputs = parts["weight"].shape[:2]
        conv_groups = self._conv_groups()
        return {
            "in_channels": n_inputs * conv_groups,
            "out_channels": n_outputs,
            "groups": conv_groups,
        }


class ElasticConv1d(ElasticConv, nn.Conv1d):
    """A 1-d convolution that can run at several widths."""

    plain_type = nn.Conv1d
    convolve = functional.conv1d


class ElasticConv2d(ElasticConv, nn.Conv2d):
    """A 2-d convolution that can run at several widths."""

    plain_type = nn.Conv2d
    convolve = functional.conv2d


class ElasticConv3d(ElasticConv, nn.Conv3d):
    """A 3-d convolution that can run at several widths."""

    plain_type = nn.Conv3d
    convolve = functional.conv3d


def _resize(layer: _ConvNd) -> None:
    layer.out_channels, n_inputs = layer.weight.shape[:2]
    layer.in_channels = n_inputs * layer.groups


def _run(layer: ElasticConv, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    convolve, conv_groups = _FUNCTIONS[len(layer.kernel_size)], x.shape[1] // weight.shape[1]
    return convolve(x, weight, bias, layer.stride, layer.padding, layer.dilation, conv_groups)


def read_convolution(layer: _ConvNd, input_shape: tuple[int, ...]) -> Geometry | None:
    """Describe a convolution but for its widths; None if it pads otherwise than with zeros."""
    is_padded_otherwise = isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    if is_padded_otherwise or math.prod(input_shape) == 0:
        return None
    conv_group: tuple[int, ...] = ()
    if layer.groups > 1:
        conv_group = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
    return Geometry(
        kind=CONV.name,
        size=tuple(input_shape[2:]),
        kernel=tuple(layer.kernel_size),
        stride=tuple(layer.stride),
        padding=tuple(map(int, layer.padding)),
        dilation=tuple(layer.dilation),
        conv_group=conv_group,
        has_bias=layer.bias is not None,
    )


def _build(geometry: Geometry, n_inputs: int, n_outputs: int, conv_groups: int) -> nn.Module:
    return build_convolution(CONV, geometry, n_inputs, n_outputs, conv_groups)


def build_convolution(
    kind: LayerKind,
    geometry: Geometry,
    n_inputs: int,
    n_outputs: int,
    conv_groups: int,
    **own: tuple[int, ...],
) -> nn.Module:
    """Make a convolution anew.

    Args:
        kind: Its kind.
        geometry: All but its widths.
        n_inputs: Input channels.
        n_outputs: Output channels.
        conv_groups: Groups of them.
        **own: What it has of its own kind only.
    """
    plain: Any = list(kind.twins)[len(geometry.kernel) - 1]
    layer: nn.Module = plain(
        n_inputs,
        n_outputs,
        kernel_size=geometry.kernel,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=conv_groups,
        bias=geometry.has_bias,
        **own,
    )
    return layer


def _gather(layer: _ConvNd, x: Tensor, places: Tensor) -> Tensor:
    """Return the patches under the kernel, (conv_groups, N * n_places, channels * kernel)."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    sizes = [
        (size - step * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, step in zip(
            padded.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True
        )
    ]
    n_axes = len(sizes)
    taken = []
    for axis, place in enumerate(torch.unravel_index(places, sizes)):
        steps = torch.arange(layer.kernel_size[axis], device=x.device) * layer.dilation[axis]
        # One axis of the kernel each, behind samples and places.
        steps = steps.view([-1 if other == axis else 1 for other in range(n_axes)])
        taken.append(place.view(*place.shape, *[1] * n_axes) * layer.stride[axis] + steps)
    samples = torch.arange(len(x), device=x.device).view(-1, *[1] * (n_axes + 1))
    patches = padded.movedim(1, -1)[(samples, *taken)].movedim(-1, 2)
    # A grouped layer has fewer groups where it is narrower, all of their size.
    conv_groups = x.shape[1] * layer.groups // layer.in_channels if layer.groups > 1 else 1
    return patches.reshape(places.numel(), conv_groups, -1).transpose(0, 1)


def _pick(y: Tensor, places: Tensor) -> Tensor:
    flat = y.flatten(2)
    index = places[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2).reshape(places.numel(), -1)


def _count(y: Tensor) -> int:
    return math.prod(y.shape[2:])


CONV = LayerKind(
    name="conv",
    twins={nn.Conv1d: ElasticConv1d, nn.Conv2d: ElasticConv2d, nn.Conv3d: ElasticConv3d},
    handler=convolve,
    calls=dict.fromkeys(
        (*_FUNCTIONS.values(), torch.conv1d, torch.conv2d, torch.conv3d), convolve_own
    ),
    subclasses="own forward",
    resize=_resize,
    run=_run,
    rebuilder=Rebuilder(read_convolution, _build, lay_out_input=lay_out_channels, has_kernel=True),
    regression=Regression(_gather, _pick, _count),
)
