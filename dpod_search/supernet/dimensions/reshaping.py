"""Handlers of operations that move, merge and split axes.

A reshape is understood block by block: neighbouring axes before it and after it that hold the
same elements. Each size it is given must come out right at every width; see ``sizes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


# More copies of a run of channels than this in one axis are not worth slicing.
_MOST_COPIES = 512


def reshape(discovery: Discovery, node: fx.Node) -> Axes:
    """View or reshape: axes are merged, split, or kept, each with a size that fits all widths."""
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    sizes = _sizes_of(discovery, node)
    blocks = match_blocks(before, after)
    if sizes is None or len(sizes) != len(after) or blocks is None:
        return freeze_inputs(discovery, node, "reshapes it in a way that cannot be followed")
    axes: Axes = {}
    for old, new in blocks:
        layouts = [discovery.layout(source, axis) for axis in old]
        made = _reshape_block(discovery, node, layouts, [sizes[axis] for axis in new], new)
        if made is None:
            for layout in layouts:
                discovery.dims.freeze(
                    layout,
                    f"{discovery.where(node)} gives it a size that does not follow the widths",
                )
        else:
            axes |= made
    return axes


def flatten(discovery: Discovery, node: fx.Node) -> Axes:
    """Flatten: channels in front of the flattened space repeat once per place."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    module = discovery.modules.get(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.Flatten):
        start, end = module.start_dim % n_axes, module.end_dim % n_axes
    else:
        start = int(argument(node, 1, "start_dim", 0)) % n_axes
        end = int(argument(node, 2, "end_dim", -1)) % n_axes
    axes: Axes = {}
    for axis, layout in discovery.axes(source).items():
        if axis < start:
            axes[axis] = layout
        elif axis > end:
            axes[axis - (end - start)] = layout
    layouts = [discovery.layout(source, axis) for axis in range(start, end + 1)]
    merged = merge(layouts, has_batch=start == 0)
    if merged is None:
        for layout in layouts:
            discovery.dims.freeze(layout, f"{discovery.where(node)} folds it behind other axes")
        return axes
    return {**axes, start: merged}


def merge(layouts: Sequence[Layout], *, has_batch: bool) -> Layout | None:
    """Return the layout of several axes made one, None if that has none.

    Args:
        layouts: Of the axes, outermost first.
        has_batch: The first of them is the batch, whose size is not known.
    """
    elastic = [i for i, layout in enumerate(layouts) if is_elastic(layout)]
    sizes = [full_size(layout) for layout in layouts]
    if not elastic:
        return fixed(math.prod(sizes))
    n_outer = math.prod(sizes[: elastic[0]])
    if len(elastic) > 1 or n_outer > _MOST_COPIES:
        return None
    if has_batch and elastic != [0] and n_outer > sizes[0]:
        return None  # copies for every sample and place: no layer reads them as channels
    return scale(layouts[elastic[0]], Fraction(math.prod(sizes[elastic[0] + 1 :]))) * n_outer


def match_blocks(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[list[int], list[int]]] | None:
    """Match runs of axes that hold the same elements.

    Args:
        before: Sizes before a reshape.
        after: Sizes after it.

    Returns:
        Pairs of axes before and axes after, in order; None if there are none, as with no
        elements. Axes of size 1 stay with their like where that is possible.
    """
    blocks: list[tuple[list[int], list[int]]] = []
    old = new = 0
    while old < len(before) or new < len(after):
        first, second = [*range(old, old + 1)], [*range(new, new + 1)]
        if old == len(before) or (new < len(after) and _comes(before, after, old, new)):
            blocks.append(([], second))
            new += 1
            continue
        if new == len(after) or _comes(after, before, new, old):
            blocks.append((first, []))
            old += 1
            continue
        old, new = old + 1, new + 1
        while (a := math.prod(before[i] for i in first)) != (
            b := math.prod(after[i] for i in second)
        ):
            if a < b and old < len(before):
                first.append(old)
                old += 1
            elif b < a and new < len(after):
                second.append(new)
                new += 1
            else:
                return None
        blocks.append((first, second))
    return blocks


def _comes(before: Sequence[int], after: Sequence[int], old: int, new: int) -> bool:
    """Say whether an axis of size 1 comes here that was not there before."""
    return new > 0 and after[new] == 1 and before[old] != 1


def resize(discovery: Discovery, node: fx.Node) -> Axes:
    """Squeeze or unsqueeze: axes of size 1 go or come."""
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    axes = discovery.axes(source)
    chosen = argument(node, 1, "dim", None)
    if len(after) > len(before):
        new = chosen % len(after)
        return {axis + (axis >= new): layout for axis, layout in axes.items()}
    listed = range(len(before)) if chosen is None else np.atleast_1d(chosen)
    gone = {int(axis) % len(before) for axis in listed if before[axis] == 1}
    for axis in gone:
        discovery.dims.freeze(
            discovery.layout(source, axis), f"{discovery.where(node)} drops its axis"
        )
    return {
        axis - sum(other < axis for other in gone): layout
        for axis, layout in axes.items()
        if axis not in gone
    }


def permute(discovery: Discovery, node: fx.Node) -> Axes:
    """Permute: axes move."""
    source = discovery.first_input(node)
    order: Any = node.args[1:]
    if len(order) == 1 and isinstance(order[0], Sequence):
        order = order[0]
    order = order or node.kwargs.get("dims", ())
    n_axes = len(discovery.shapes[source])
    axes = discovery.axes(source)
    moved = [int(axis) % n_axes for axis in order]
    return {new: axes[old] for new, old in enumerate(moved) if old in axes}


def transpose(discovery: Discovery, node: fx.Node) -> Axes:
    """Transpose: two axes change places."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    one = int(argument(node, 1, "dim0", 0)) % n_axes
    other = int(argument(node, 2, "dim1", 1)) % n_axes
    places = {one: other, other: one}
    return {places.get(axis, axis): held for axis, held in discovery.axes(source).items()}


def expand(discovery: Discovery, node: fx.Node) -> Axes:
    """Expand or repeat: axes of size 1 are repeated, the others pass."""
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    shift = len(after) - len(before)
    repeats = name_is_repeat(node)
    sizes = _sizes_of(discovery, node)
    axes = _repeat_fixed(discovery, node, sizes or ())
    for axis, layout in discovery.axes(source).items():
        if not is_elastic(layout):
            continue
        size = None if sizes is None else sizes[axis + shift]
        passes = isinstance(size, int) and size == 1 if repeats else size == -1
        if not passes and not repeats and size is not None:
            passes = discovery.sizes.bind(size, layout, discovery.where(node))
        if before[axis] == after[axis + shift] and passes:
            axes[axis + shift] = layout
        else:
            discovery.dims.freeze(layout, f"{discovery.where(node)} repeats it")
    return axes


def _repeat_fixed(discovery: Discovery, node: fx.Node, sizes: Sequence[Any]) -> Axes:
    """Return the axes of one element that are repeated as often as there are channels.

    Other sizes or counts by which fixed axes are repeated are no widths.
    """
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    shift = len(after) - len(before)
    axes: Axes = {}
    for axis, size in enumerate(sizes):
        is_new = axis < shift
        if not is_new and is_elastic(discovery.layout(source, axis - shift)):
            continue
        n_before = 1 if is_new else before[axis - shift]
        if n_before == 1 and after[axis] > 1:
            width = discovery.sizes.read_width(size)
            if is_elastic(width):
                axes[axis] = width
                continue
        is_count = name_is_repeat(node) and not is_new
        made = after[axis] // max(1, n_before) if is_count else after[axis]
        discovery.sizes.bind(size, fixed(made), discovery.where(node))
    return axes


def name_is_repeat(node: fx.Node) -> bool:
    """Say whether a node repeats a tensor, by counts and not by sizes."""
    return node.target == "repeat"


def equal_run(discovery: Discovery, layout: Layout, n_runs: int, where: str) -> Layout | None:
    """Return one of ``n_runs`` equal runs of a layout, made equal at all widths.

    Args:
        discovery: The walk.
        layout: Of the axis that is cut.
        n_runs: Into how many runs of equal size.
        where: Names the operation, for reasons.
    """
    dims = discovery.dims
    if n_runs == 1:
        return layout
    if len(layout) == 1:
        if layout[0].size % n_runs:
            return None
        if dims.is_whole(layout[0]):
            return dims.cut(layout[0], [layout[0].size // n_runs] * n_runs, is_shared=True)[:1]
        dims.coarsen(layout[0], layout[0].size // n_runs)
        dims.disorder(
            layout, f"{where} cuts it in parts that begin at other channels when it is narrower"
        )
        return scale(layout, Fraction(1, n_runs))
    if len(layout) % n_runs:
        return None
    n = len(layout) // n_runs
    run = layout[:n]
    for start in range(n, len(layout), n):
        dims.unify(run, layout[start : start + n], where)
    return dims.expand(run)


def _reshape_block(
    discovery: Discovery,
    node: fx.Node,
    layouts: Sequence[Layout],
    sizes: Sequence[Any],
    new: Sequence[int],
) -> Axes | None:
    """Return the layouts of the new axes of one block, None if an elastic one cannot follow."""
    where = discovery.where(node)
    elastic = [layout for layout in layouts if is_elastic(layout)]
    if not elastic:
        for size, axis in zip(sizes, new, strict=True):
            discovery.sizes.bind(size, fixed(discovery.shapes[node][axis]), where)
        return {}
    merged = merge(layouts, has_batch=bool(new) and new[0] == 0)
    if merged is None or not new:
        return None
    if len(new) == 1:
        return {new[0]: merged} if discovery.sizes.bind(sizes[0], merged, where) else None
    return _split_axis(discovery, node, merged, sizes, new)


def _split_axis(
    discovery: Discovery,
    node: fx.Node,
    layout: Layout,
    sizes: Sequence[Any],
    new: Sequence[int],
) -> Axes | None:
    """Split an axis into fixed outer ones, an elastic one, and fixed inner ones."""
    where = discovery.where(node)
    shape = [discovery.shapes[node][axis] for axis in new]
    place = _elastic_place(discovery, layout, sizes, new)
    if place is None:
        return None
    n_outer, n_inner = math.prod(shape[:place]), math.prod(shape[place + 1 :])
    run = equal_run(discovery, layout, n_outer, where)
    if run is None or not keep_groups_whole(discovery, node, run, n_inner):
        return None
    part = scale(run, Fraction(1, n_inner))
    if any(segment.repeat < 1 for segment in part):  # else each is the kernel of one channel
        discovery.dims.mark_heads(run)
    if not discovery.sizes.bind(sizes[place], part, where):
        return None
    for i, size in enumerate(sizes):
        if i != place:
            discovery.sizes.bind(size, fixed(shape[i]), where)
    return {new[place]: part}


def _elastic_place(
    discovery: Discovery, layout: Layout, sizes: Sequence[Any], new: Sequence[int]
) -> int | None:
    """Say which of the new axes changes its size, None if each is a number of the code's own."""
    meanings = [discovery.sizes.read(size, trusts_attributes=True) for size in sizes]
    for i, meaning in enumerate(meanings):  # computed from the size of the very axis
        own = isinstance(meaning, tuple) and is_elastic(meaning) and len(meaning) == len(layout)
        if own and all(
            discovery.dims.is_same(one, other)
            for one, other in zip(meaning, layout, strict=True)  # type: ignore[arg-type]
        ):
            return i
    for i, size in enumerate(sizes):
        meaning = discovery.sizes.read(size)
        if meaning is None or (isinstance(meaning, tuple) and is_elastic(meaning)):
            return i
    inferred = (i for i, size in enumerate(sizes) if isinstance(size, int) and size == -1)
    return next((i for i in inferred if new[i] > 0), None)  # in front it is the batch


def _sizes_of(discovery: Discovery, node: fx.Node) -> Sequence[Any] | None:
    """Return the sizes that a node is given, one an axis."""
    sizes: Any = node.args[1:] or (node.kwargs.get("shape", node.kwargs.get("size")),)
    if len(sizes) != 1:
        return [discovery.sizes.find_element(size) for size in sizes]
    row = discovery.sizes.list_row(sizes[0])
    return (sizes[0],) if row is None else row
