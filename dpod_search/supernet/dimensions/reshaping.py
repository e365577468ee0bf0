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
from dpod_search.supernet.dimensions.walk import pass_but
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


# More copies of a run of channels than this in one axis are not worth slicing.
MOST_COPIES = 512


def reshape(discovery: Discovery, node: fx.Node) -> Axes:
    """View or reshape: axes are merged, split, or kept, each with a size that fits all widths."""
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    sizes = sizes_of(discovery, node)
    blocks = match_blocks(before, after)
    if sizes is None or len(sizes) != len(after) or blocks is None:
        return freeze_inputs(discovery, node, "reshapes it in a way that cannot be followed")
    axes: Axes = {}
    for old, new in blocks:
        layouts = [discovery.layout(source, axis) for axis in old]
        chosen, shape = [sizes[axis] for axis in new], [after[axis] for axis in new]
        has_batch = bool(new) and new[0] == 0
        made = reshape_block(discovery, node, layouts, chosen, shape, has_batch=has_batch)
        if made is None:
            for layout in layouts:
                discovery.dims.freeze(
                    layout,
                    f"{discovery.where(node)} gives it a size that does not follow the widths",
                )
        else:
            axes |= {new[i]: layout for i, layout in made.items()}
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
    if len(elastic) > 1 or n_outer > MOST_COPIES:
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
    chosen = argument(node, 1, "dim", None)
    if len(after) > len(before):
        new = chosen % len(after)
        return {axis + (axis >= new): held for axis, held in discovery.axes(source).items()}
    listed = range(len(before)) if chosen is None else np.atleast_1d(chosen)
    gone = {int(axis) % len(before) for axis in listed if before[axis] == 1}
    axes = pass_but(discovery, node, gone, "drops its axis")
    return {axis - sum(other < axis for other in gone): layout for axis, layout in axes.items()}


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


def unflatten(discovery: Discovery, node: fx.Node) -> Axes:
    """Unflatten: one axis becomes several."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    module = discovery.modules.get(str(node.target)) if node.op == "call_module" else None
    chosen: Any = getattr(module, "dim", argument(node, 1, "dim", None))
    given: Any = getattr(module, "unflattened_size", argument(node, 2, "sizes", None))
    if not isinstance(chosen, int) or not isinstance(given, Sequence):
        return freeze_inputs(discovery, node, "splits an axis in a way that cannot be followed")
    axis, sizes = chosen % n_axes, [discovery.sizes.find_element(size) for size in given]
    axes = {
        other + (len(sizes) - 1) * (other > axis): layout
        for other, layout in discovery.axes(source).items()
        if other != axis
    }
    new = range(axis, axis + len(sizes))
    shape = discovery.shapes[node][new[0] : new[-1] + 1]
    made = reshape_block(discovery, node, [discovery.layout(source, axis)], sizes, shape)
    if made is None:
        does = f"{discovery.where(node)} gives it a size that does not follow the widths"
        discovery.dims.freeze(discovery.layout(source, axis), does)
    return axes | {axis + i: layout for i, layout in (made or {}).items()}


def move_axes(discovery: Discovery, node: fx.Node) -> Axes:
    """Movedim: axes move, the others close up."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    chosen = argument(node, 1, "source", None), argument(node, 2, "destination", None)
    order = _order_after(n_axes, *chosen)
    axes = discovery.axes(source)
    return {new: axes[old] for new, old in enumerate(order) if old in axes}


def _order_after(n_axes: int, moved: Any, places: Any) -> list[int]:
    """Return which axis stands at each place after some were moved."""
    origins = [int(axis) % n_axes for axis in np.atleast_1d(moved)]
    targets = [int(axis) % n_axes for axis in np.atleast_1d(places)]
    order = [axis for axis in range(n_axes) if axis not in origins]
    for target, origin in sorted(zip(targets, origins, strict=True)):
        order.insert(target, origin)
    return order


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


def reshape_block(
    discovery: Discovery,
    node: fx.Node,
    layouts: Sequence[Layout],
    sizes: Sequence[Any],
    shape: Sequence[int],
    *,
    has_batch: bool = False,
) -> Axes | None:
    """Make axes that hold the same elements as others.

    Args:
        discovery: The walk.
        node: The operation.
        layouts: Of the axes before, outermost first.
        sizes: What the operation is given for each of the axes after.
        shape: Their sizes on the example.
        has_batch: The first of them is, or holds, the batch.

    Returns:
        The layouts of the axes after, by their place among them; None if an elastic one cannot
        follow.
    """
    where = discovery.where(node)
    elastic = [layout for layout in layouts if is_elastic(layout)]
    if not elastic:
        for size, made in zip(sizes, shape, strict=True):
            discovery.sizes.bind(size, fixed(made), where)
        return {}
    merged = merge(layouts, has_batch=has_batch)
    if merged is None or not shape:
        return None
    if len(shape) == 1:
        return {0: merged} if discovery.sizes.bind(sizes[0], merged, where) else None
    return _split_axis(discovery, node, merged, sizes, shape, has_batch=has_batch)


def _split_axis(
    discovery: Discovery,
    node: fx.Node,
    layout: Layout,
    sizes: Sequence[Any],
    shape: Sequence[int],
    *,
    has_batch: bool,
) -> Axes | None:
    """Split an axis into fixed outer ones, an elastic one, and fixed inner ones."""
    where = discovery.where(node)
    place = _elastic_place(discovery, layout, sizes, has_batch=has_batch)
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
    return {place: part}


def _elastic_place(
    discovery: Discovery, layout: Layout, sizes: Sequence[Any], *, has_batch: bool
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
        # Of heads and channels of a head, one inferred and one an attribute, the heads change.
        is_inferred = isinstance(size, int) and size == -1 and (i or not has_batch)
        if is_inferred or meaning is None or (isinstance(meaning, tuple) and is_elastic(meaning)):
            return i
    return None


def sizes_of(discovery: Discovery, node: fx.Node) -> Sequence[Any] | None:
    """Return the sizes that a node is given, one an axis."""
    sizes: Any = node.args[1:] or (node.kwargs.get("shape", node.kwargs.get("size")),)
    if len(sizes) != 1:
        return [discovery.sizes.find_element(size) for size in sizes]
    row = discovery.sizes.list_row(sizes[0])
    return (sizes[0],) if row is None else row
