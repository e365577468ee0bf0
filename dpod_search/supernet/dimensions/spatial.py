"""Handlers of operations over the last axes: pooling, resampling and padding.

They work place by place on all axes in front of those, which pass. An elastic axis among the
last ones is frozen.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.dimensions.walk import pass_but
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


# Their names end in the number of axes that they work on, or all behind channels are meant.
SPATIAL_MODULES: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.LPPool1d,
    nn.LPPool2d,
    nn.LPPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Upsample,
    nn.UpsamplingNearest2d,
    nn.UpsamplingBilinear2d,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    nn.ZeroPad3d,
    nn.ConstantPad1d,
    nn.ConstantPad2d,
    nn.ConstantPad3d,
    nn.ReflectionPad1d,
    nn.ReflectionPad2d,
    nn.ReflectionPad3d,
    nn.ReplicationPad1d,
    nn.ReplicationPad2d,
    nn.ReplicationPad3d,
    nn.CircularPad1d,
    nn.CircularPad2d,
    nn.CircularPad3d,
)  # fmt: skip  (a table)
SPATIAL_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    functional.max_pool1d,
    functional.max_pool2d,
    functional.max_pool3d,
    functional.avg_pool1d,
    functional.avg_pool2d,
    functional.avg_pool3d,
    functional.lp_pool1d,
    functional.lp_pool2d,
    functional.lp_pool3d,
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d,
    functional.adaptive_avg_pool3d,
    functional.adaptive_max_pool1d,
    functional.adaptive_max_pool2d,
    functional.adaptive_max_pool3d,
    functional.interpolate,
    torch.max_pool1d,
    torch.max_pool2d,
    torch.max_pool3d,
)  # fmt: skip  (a table)


def slide(discovery: Discovery, node: fx.Node) -> Axes:
    """Pooling, resampling or padding over space: all axes in front pass."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    n_spatial = _count_spatial(discovery, node, n_axes)
    freeze_sizes(discovery, node, n_spatial)
    return pass_but(discovery, node, set(range(n_axes - n_spatial, n_axes)), "slides over it")


def pad(discovery: Discovery, node: fx.Node) -> Axes:
    """Padding by a list of numbers, two for each of the last axes: an axis given zeros passes.

    Channels that are added stand beside those that are there, as many at all widths unless an
    attribute says how many.
    """
    amounts = argument(node, 1, "pad", None)
    if not isinstance(amounts, Sequence):
        return freeze_inputs(discovery, node, "pads it by an amount that is not known")
    source = discovery.first_input(node)
    last = len(discovery.shapes[source]) - 1
    padded = {last - i // 2 for i, n in enumerate(amounts) if not isinstance(n, int) or n != 0}
    sides = {axis: amounts[2 * (last - axis) : 2 * (last - axis) + 2] for axis in padded}
    beside = [
        axis
        for axis in padded & set(discovery.axes(source))
        if argument(node, 2, "mode", "constant") == "constant"
        and all(isinstance(n, int) and n >= 0 for n in sides[axis])
    ]
    widths = [n for axis in beside for n in sides[axis]]
    freeze_sizes(discovery, node, len(amounts) // 2, but=widths)
    added: Axes = {}
    for axis in beside:
        before, after = (_lay_out(discovery, n) for n in sides[axis])
        added[axis] = (*before, *discovery.layout(source, axis), *after)
    return pass_but(discovery, node, padded - set(added), "slides over it") | added


def unfold(discovery: Discovery, node: fx.Node) -> Axes:
    """``F.unfold`` and ``nn.Unfold``: each channel becomes those of a window, side by side."""
    source = discovery.first_input(node)
    n_times = discovery.shapes[node][-2] // discovery.shapes[source][-3]
    freeze_sizes(discovery, node, 2)
    axes = pass_but(
        discovery, node, {len(discovery.shapes[source]) - i for i in (1, 2)}, "slides over it"
    )
    axis = len(discovery.shapes[source]) - 3
    return {a: scale(held, Fraction(n_times)) if a == axis else held for a, held in axes.items()}


def fold(discovery: Discovery, node: fx.Node) -> Axes:
    """``F.fold`` and ``nn.Fold``: windows become places of one channel again."""
    source = discovery.first_input(node)
    axis = len(discovery.shapes[source]) - 2
    n_times = discovery.shapes[source][axis] // discovery.shapes[node][axis]
    freeze_sizes(discovery, node, 2)
    axes = pass_but(discovery, node, {axis + 1}, "slides over it")
    channels = axes.pop(axis, None)
    if channels is not None and keep_groups_whole(discovery, node, channels, n_times):
        axes[axis] = scale(channels, Fraction(1, n_times))
    return axes


def slide_along(discovery: Discovery, node: fx.Node) -> Axes:
    """``x.unfold``: windows along one axis, their elements in a new last one."""
    source = discovery.first_input(node)
    chosen = argument(node, 1, "dimension", None)
    if not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "slides along an axis that is computed")
    pin_numbers(discovery, node)
    return pass_but(discovery, node, {chosen % len(discovery.shapes[source])}, "slides over it")


def _lay_out(discovery: Discovery, number: int) -> Layout:
    """Return what channels belong to that are added: an attribute of the user's may be a width."""
    if not number:
        return ()
    return discovery.sizes.read_width(number) or fixed(int(number))


def freeze_sizes(
    discovery: Discovery, node: fx.Node, n_spatial: int, *, but: Sequence[object] = ()
) -> None:
    """Freeze the axes whose sizes an operation is given to make its own places of.

    Args:
        discovery: The walk.
        node: The operation; sizes among its arguments may be computed from shapes of tensors.
        n_spatial: How many sizes, the last ones, it takes where it is given a whole shape.
        but: The numbers that are none.
    """
    pin_numbers(discovery, node, but=but)
    reason = f"{discovery.where(node)} makes space of its size"
    for size in node.all_input_nodes:
        if size not in discovery.shapes and not any(size is other for other in but):
            _freeze_size(discovery, size, slice(-n_spatial, None), reason)


def freeze_size(discovery: Discovery, size: fx.Node, reason: str) -> None:
    """Freeze what a size is computed from, with the reason."""
    _freeze_size(discovery, size, slice(None), reason)


def _freeze_size(discovery: Discovery, size: fx.Node, part: object, reason: str) -> None:
    """Freeze what a size is computed from; of a whole shape, only the given part of its axes."""
    whole = size.args[0] if size.args else None
    if size.target is operator.getitem and isinstance(whole, fx.Node):
        _freeze_size(discovery, whole, size.args[1], reason)
        return
    if size.target == "size":
        which = argument(size, 1, "dim", None)
        part = part if which is None else which
    elif size.target is not getattr:  # arithmetic, from whatever parts
        part = slice(None)
    for source in size.all_input_nodes:
        if source not in discovery.shapes:
            _freeze_size(discovery, source, part, reason)
            continue
        for axis in _choose_axes(len(discovery.shapes[source]), part):
            discovery.dims.freeze(discovery.layout(source, axis), reason)


def _choose_axes(n_axes: int, part: object) -> Sequence[int]:
    if isinstance(part, int):
        return (part % n_axes,)
    if isinstance(part, slice) and fx.Node not in map(type, (part.start, part.stop, part.step)):
        return range(n_axes)[part]
    return range(n_axes)


def _count_spatial(discovery: Discovery, node: fx.Node, n_axes: int) -> int:
    name = (
        type(discovery.module(node)).__name__
        if node.op == "call_module"
        else getattr(node.target, "__name__", "")
    )
    ending = re.search(r"(\d)d$", name)
    return int(ending[1]) if ending else n_axes - 2
