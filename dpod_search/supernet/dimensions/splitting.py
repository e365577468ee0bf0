"""Handlers of operations that take an axis or a tensor apart: split, indexing, channel shuffle, GLU."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.reshaping import equal_run
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


def split(discovery: Discovery, node: fx.Node) -> Axes:
    """Chunk, split or tensor_split by equal parts or by sizes: each part is a run of its own."""
    source = discovery.first_input(node)
    chosen = argument(node, 2, "dim", 0)
    if not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "cuts it along an axis that is computed")
    if not _parts_are_taken(node):
        return freeze_inputs(discovery, node, "cuts it in parts that are used together")
    axis = chosen % len(discovery.shapes[source])
    layout = discovery.layout(source, axis)
    others = {other: held for other, held in discovery.axes(source).items() if other != axis}
    sizes = [shape[axis] for shape in discovery.part_shapes(node)]
    runs: Sequence[Layout] | None = [fixed(size) for size in sizes]
    if is_elastic(layout):
        runs = _cut(discovery, node, layout, sizes)
    else:
        pin_numbers(discovery, node)
    if runs is None:
        discovery.dims.freeze(layout, f"{discovery.where(node)} cuts it by sizes of its own")
        runs = [fixed(size) for size in sizes]
    discovery.parts[node] = [{**others, axis: run} for run in runs]
    return {}


def unbind(discovery: Discovery, node: fx.Node) -> Axes:
    """Unbind: one axis goes, and each part has the others."""
    source = discovery.first_input(node)
    chosen = argument(node, 1, "dim", 0)
    if not isinstance(chosen, int) or not _parts_are_taken(node):
        return freeze_inputs(discovery, node, "cuts it in parts that are used together")
    axis = chosen % len(discovery.shapes[source])
    if is_elastic(discovery.layout(source, axis)):
        return freeze_inputs(discovery, node, "cuts it into single channels")
    held = {
        other - (other > axis): layout
        for other, layout in discovery.axes(source).items()
        if other != axis
    }
    discovery.parts[node] = [held] * discovery.shapes[source][axis]
    return {}


def take_part(discovery: Discovery, node: fx.Node) -> Axes:
    """Take one part of a chunk or split, a size of a shape, or a part of a tensor."""
    source, which = node.args[0], node.args[1]
    if not isinstance(source, fx.Node) or node not in discovery.shapes:
        return {}
    parts = discovery.parts.get(source)
    if parts is None and source in discovery.shapes:
        return index(discovery, node)
    if parts is None or not isinstance(which, int) or not -len(parts) <= which < len(parts):
        return freeze_inputs(discovery, node, "takes a part of it")
    return dict(parts[which])


def index(discovery: Discovery, node: fx.Node) -> Axes:
    """Index a tensor: whole axes pass, fixed ones may be cut, ``None`` adds one."""
    source = discovery.first_input(node)
    chosen = _list_items(node)
    if len(chosen) == 1 and isinstance(chosen[0], fx.Node):
        return _look_up(discovery, node, source, chosen[0])
    layouts = index_axes(discovery, node, source, "takes")
    if layouts is None:
        return freeze_inputs(discovery, node, "is indexed by what is computed")
    return {axis: layout for axis, layout in enumerate(layouts) if is_elastic(layout)}


def index_axes(
    discovery: Discovery, node: fx.Node, source: fx.Node, does: str
) -> list[Layout] | None:
    """Return the layouts of a part of a tensor, as an index chooses it; None if it is computed.

    Args:
        discovery: The walk.
        node: Whose second argument the index is.
        source: The tensor.
        does: What is done to the part, for reasons.
    """
    chosen = _list_items(node)
    if any(not _is_plain(discovery, item) for item in chosen):
        return None
    return _index_plainly(discovery, node, source, chosen, does)


def _list_items(node: fx.Node) -> list[Any]:
    return list(node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],))


def _index_plainly(
    discovery: Discovery, node: fx.Node, source: fx.Node, chosen: list[Any], does: str
) -> list[Layout]:
    pin_numbers(discovery, node)
    n_axes = len(discovery.shapes[source])
    if Ellipsis in chosen:
        place = chosen.index(Ellipsis)
        n_named = sum(item is not None for item in chosen) - 1
        chosen[place : place + 1] = [slice(None)] * (n_axes - n_named)
    found: list[Layout] = []
    old = 0
    for item in [*chosen, *[slice(None)] * n_axes]:
        if item is None:
            found.append(fixed(1))
            continue
        if old == n_axes:
            break
        layout, size = discovery.layout(source, old), discovery.shapes[source][old]
        if not isinstance(item, slice):
            discovery.dims.freeze(layout, f"{discovery.where(node)} {does} one channel of it")
        elif is_elastic(layout) and _takes_all(item, size):
            found.append(layout)
        else:
            discovery.dims.freeze(layout, f"{discovery.where(node)} {does} a part of it")
            bounds = (item.start, item.stop, item.step)
            is_known = not any(isinstance(bound, fx.Node) for bound in bounds)
            found.append(fixed(len(range(size)[item]) if is_known else size))
        old += 1
    return found


def _takes_all(item: slice, size: int) -> bool:
    """Say whether a slice takes all of an axis, and does so when the axis is narrower, too."""
    begins = item.start in (None, 0) and item.step in (None, 1)
    return begins and (item.stop is None or (isinstance(item.stop, int) and item.stop >= size))


def _look_up(discovery: Discovery, node: fx.Node, source: fx.Node, places: fx.Node) -> Axes:
    """Take rows of a table by their numbers, as a relative position bias does."""
    n_new = len(discovery.shapes.get(places, ())) - 1
    n_axes = len(discovery.shapes[source])
    if places not in discovery.shapes or len(discovery.shapes[node]) != n_axes + n_new:
        return freeze_inputs(discovery, node, "is indexed by what is computed")
    discovery.dims.freeze(discovery.layout(source, 0), f"{discovery.where(node)} takes rows of it")
    return {axis + n_new: layout for axis, layout in discovery.axes(source).items() if axis}


def _is_plain(discovery: Discovery, item: Any) -> bool:
    if isinstance(item, slice):
        # A bound that the model computes from sizes must not change with the widths.
        bounds = [b for b in (item.start, item.stop, item.step) if isinstance(b, fx.Node)]
        return not any(b in discovery.shapes or discovery.sizes.follows_widths(b) for b in bounds)
    return item is None or item is Ellipsis or (isinstance(item, int) and item is not True)


def _parts_are_taken(node: fx.Node) -> bool:
    """Say whether the parts are used one by one, each by its number."""
    return all(name_of(user) == "getitem" and isinstance(user.args[1], int) for user in node.users)


def _cut(
    discovery: Discovery, node: fx.Node, layout: Layout, sizes: Sequence[int]
) -> Sequence[Layout] | None:
    """Return the layouts of the parts, None where their sizes cannot follow the widths."""
    where = discovery.where(node)
    name = name_of(node)
    given = argument(node, 1, "chunks" if name == "chunk" else "split_size", None)
    given = node.kwargs.get("split_size_or_sections", given)
    if name in ("chunk", "tensor_split"):
        if not isinstance(given, int) or len(set(sizes)) > 1 or len(sizes) != given:
            return None
        run = equal_run(discovery, layout, len(sizes), where)
        return None if run is None else [run] * len(sizes)
    if not isinstance(given, Sequence):
        if len(set(sizes)) > 1 or isinstance(given, str):
            return None
        if not discovery.sizes.can_follow(given):
            return None
        run = equal_run(discovery, layout, len(sizes), where)
        bound = run is not None and discovery.sizes.bind(given, run, where)
        return [run] * len(sizes) if run is not None and bound else None
    if not all(discovery.sizes.can_follow(size) for size in given):
        return None
    runs = _cut_unequally(discovery, layout, sizes, where)
    if runs is None:
        return None
    pairs = zip(given, runs, strict=True)
    follows = [discovery.sizes.bind(size, run, where) for size, run in pairs]
    return runs if all(follows) else None


def _cut_unequally(
    discovery: Discovery, layout: Layout, sizes: Sequence[int], where: str
) -> Sequence[Layout] | None:
    if len(layout) == 1 and discovery.dims.is_fresh(layout[0]):
        runs = discovery.dims.cut(layout[0], sizes, is_shared=False)
        return [(run,) for run in runs]
    parts: list[Layout] = []
    rest = list(layout)
    for size in sizes:
        part: list[Any] = []
        while rest and full_size(tuple(part)) < size:
            part.append(rest.pop(0))
        if full_size(tuple(part)) != size:
            break
        parts.append(tuple(part))
    if len(parts) == len(sizes) and not rest:
        return parts
    if len(set(sizes)) > 1:
        return None
    run = equal_run(discovery, layout, len(sizes), where)
    return None if run is None else [run] * len(sizes)


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
