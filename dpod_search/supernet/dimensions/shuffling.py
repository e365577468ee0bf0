"""Handlers of operations that regroup the channels of one axis."""

from __future__ import annotations

from fractions import Fraction

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.reshaping import equal_run
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


def shuffle_channels(discovery: Discovery, node: fx.Node) -> Axes:
    """ChannelShuffle: the k-th channels of all equal runs come together."""
    n_runs = _setting(discovery, node, "groups")
    if n_runs is None:
        return freeze_inputs(discovery, node, "shuffles it by a number that is computed")
    source = discovery.first_input(node)
    axes = dict(discovery.axes(source))
    layout = axes.pop(1, ())
    if not is_elastic(layout):
        return axes
    run = equal_run(discovery, layout, n_runs, discovery.where(node))
    if run is None:
        discovery.dims.freeze(layout, f"{discovery.where(node)} cuts it unevenly")
        return axes
    return axes | {1: scale(run, Fraction(n_runs))}


def shuffle_pixels(discovery: Discovery, node: fx.Node) -> Axes:
    """PixelShuffle: each square of channels becomes a square of places of one channel."""
    side = _setting(discovery, node, "upscale_factor")
    if side is None:
        return freeze_inputs(discovery, node, "shuffles it by a number that is computed")
    axis, layout = _channels_before_places(discovery, node)
    if not keep_groups_whole(discovery, node, layout, side**2):
        return _leading(discovery, node, axis)
    return _leading(discovery, node, axis) | {axis: scale(layout, Fraction(1, side**2))}


def unshuffle_pixels(discovery: Discovery, node: fx.Node) -> Axes:
    """PixelUnshuffle: each square of places becomes a square of channels, side by side."""
    side = _setting(discovery, node, "downscale_factor")
    if side is None:
        return freeze_inputs(discovery, node, "shuffles it by a number that is computed")
    axis, layout = _channels_before_places(discovery, node)
    return _leading(discovery, node, axis) | {axis: scale(layout, Fraction(side**2))}


def gate_halves(discovery: Discovery, node: fx.Node) -> Axes:
    """GLU: the first half of an axis, times a gate made of the second."""
    source = discovery.first_input(node)
    module = discovery.modules.get(str(node.target)) if node.op == "call_module" else None
    chosen = module.dim if isinstance(module, nn.GLU) else int(argument(node, 1, "dim", -1))
    axis = chosen % len(discovery.shapes[source])
    axes = dict(discovery.axes(source))
    layout = axes.pop(axis, ())
    if not is_elastic(layout):
        return axes
    half = equal_run(discovery, layout, 2, discovery.where(node))
    if half is None:
        discovery.dims.freeze(layout, f"{discovery.where(node)} cuts it unevenly")
        return axes
    return axes | {axis: half}


def _setting(discovery: Discovery, node: fx.Node, name: str) -> int | None:
    """Return the one number of a shuffle, from its module or from the call; None if computed."""
    pin_numbers(discovery, node)
    if node.op == "call_module":
        return int(getattr(discovery.module(node), name))
    number = argument(node, 1, name, None)
    return int(number) if isinstance(number, int) else None


def _channels_before_places(discovery: Discovery, node: fx.Node) -> tuple[int, Layout]:
    """Return the channel axis, in front of two axes of places, which are frozen; its layout."""
    source = discovery.first_input(node)
    axis = len(discovery.shapes[source]) - 3
    for place in (axis + 1, axis + 2):
        reason = f"{discovery.where(node)} shuffles its places"
        discovery.dims.freeze(discovery.layout(source, place), reason)
    return axis, discovery.layout(source, axis)


def _leading(discovery: Discovery, node: fx.Node, n_axes: int) -> Axes:
    source = discovery.first_input(node)
    return {axis: held for axis, held in discovery.axes(source).items() if axis < n_axes}
