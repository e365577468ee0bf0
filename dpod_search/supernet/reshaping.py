"""Handlers of operations that move, split and merge axes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING
from typing import Any

from torch import fx

from dpod_search.supernet.handlers import Axes
from dpod_search.supernet.handlers import argument
from dpod_search.supernet.handlers import flatten_axes
from dpod_search.supernet.handlers import freeze_inputs
from dpod_search.supernet.handlers import scale
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import is_elastic


if TYPE_CHECKING:
    from dpod_search.supernet.groups import Discovery


def reshape(discovery: Discovery, node: fx.Node) -> Axes:
    """View or reshape: axes are merged as in a flatten, or one is split in two.

    The size of an axis that may change must be computed (``x.size(1)``) or -1, never a number.
    """
    source = discovery.first_input(node)
    sizes: Sequence[Any] = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = sizes[0]
    before, after = discovery.shapes[source], discovery.shapes[node]
    places = match_axes(before, after)
    if places is not None and len(sizes) == len(after):
        return _keep_axes(discovery, node, places, sizes)
    shorter = min(len(before), len(after))
    first = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    n_tail = next(
        (i for i in range(shorter - first) if before[-1 - i] != after[-1 - i]), shorter - first
    )
    gone, come = len(before) - n_tail - first, len(after) - n_tail - first
    if len(sizes) == len(after) and first > 0:
        if come == 1 and gone >= 1 and follows_widths(discovery, sizes[first]):
            return flatten_axes(discovery, node, first, first + gone - 1)
        if gone == 1 and come == 2:
            return _split_axis(discovery, node, first, sizes)
    return freeze_inputs(
        discovery, node, "reshapes it in a way that is not a flatten or a split of one axis"
    )


def match_axes(before: Sequence[int], after: Sequence[int]) -> dict[int, int] | None:
    """Match the axes of two shapes that differ in axes of size 1 alone.

    Args:
        before: Sizes before.
        after: Sizes after.

    Returns:
        For every axis before that is still there, its place after; None if others changed too.
    """
    if before[:1] != after[:1]:  # the batch, of whatever size
        return None
    old = [0, *(axis for axis, size in enumerate(before) if axis and size != 1)]
    new = [0, *(axis for axis, size in enumerate(after) if axis and size != 1)]
    if [before[axis] for axis in old] != [after[axis] for axis in new]:
        return None
    return dict(zip(old, new, strict=True))


def resize(discovery: Discovery, node: fx.Node) -> Axes:
    """Squeeze or unsqueeze: axes of size 1 go or come."""
    source = discovery.first_input(node)
    places = match_axes(discovery.shapes[source], discovery.shapes[node])
    if places is None:
        return freeze_inputs(discovery, node, "changes its batch axis")
    return _keep_axes(discovery, node, places, None)


def index(discovery: Discovery, node: fx.Node) -> Axes:
    """Indexing a tensor: whole axes pass, ``None`` adds one, a number takes one away."""
    source = discovery.first_input(node)
    chosen: Any = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    axes: Axes = {}
    old = new = 0
    for item in chosen:
        if item is None:
            new += 1
        elif item == slice(None):
            if old in discovery.axes(source):
                axes[new] = discovery.axes(source)[old]
            old, new = old + 1, new + 1
        elif isinstance(item, int) and not is_elastic(discovery.layout(source, old)):
            old += 1
        else:
            return freeze_inputs(discovery, node, "takes a part of it")
    rest = range(old, len(discovery.shapes[source]))
    held = {new + i: axis for i, axis in enumerate(rest) if axis in discovery.axes(source)}
    return axes | {place: discovery.axes(source)[axis] for place, axis in held.items()}


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


def split(discovery: Discovery, node: fx.Node) -> Axes:
    """Chunk or split: what the parts are is looked at where they are taken, one by one."""
    for user in node.users:
        if _name_of(user) != "getitem" or not isinstance(user.args[1], int):
            return freeze_inputs(discovery, node, "cuts it in parts that are used together")
    return {}


def take_part(discovery: Discovery, node: fx.Node) -> Axes:
    """Take one part of a chunk or split, a size of a shape, or a part of a tensor."""
    source = node.args[0]
    if not isinstance(source, fx.Node) or node not in discovery.shapes:
        return {}
    if source in discovery.shapes:
        return index(discovery, node)
    if _name_of(source) not in SPLITS:
        return freeze_inputs(discovery, node, "takes a part of it")
    whole = discovery.first_input(source)
    chosen = argument(source, 2, "dim", 0)
    if not isinstance(chosen, int):
        return freeze_inputs(discovery, source, "cuts it along an axis that is computed")
    axis = chosen % len(discovery.shapes[whole])
    axes = {other: held for other, held in discovery.axes(whole).items() if other != axis}
    layout = discovery.layout(whole, axis)
    if not is_elastic(layout):
        return axes
    part = _part_of(discovery, source, layout, node.args[1])
    if part is None:
        discovery.dims.freeze(layout, f"{discovery.where(source)} cuts it unevenly")
        return axes
    return {**axes, axis: part}


# What ``take_part`` knows the parts of.
SPLITS = ("chunk", "split")


def _part_of(discovery: Discovery, source: fx.Node, layout: Layout, which: Any) -> Layout | None:
    n_parts = argument(source, 1, "chunks", None)
    if _name_of(source) != "chunk" or not isinstance(n_parts, int) or not isinstance(which, int):
        return None
    return _equal_part(discovery, source, layout, n_parts, which)


def _equal_part(
    discovery: Discovery, node: fx.Node, layout: Layout, n_parts: int, which: int
) -> Layout | None:
    """Return one of ``n_parts`` equal runs of a layout, made equal at all widths."""
    if len(layout) == 1:
        if layout[0].size % n_parts:
            return None
        discovery.dims.coarsen(layout[0], layout[0].size // n_parts)
        return scale(layout, Fraction(1, n_parts))
    if len(layout) != n_parts:
        return None
    for other in layout[1:]:
        discovery.dims.unify(layout[:1], (other,), discovery.where(node))
    return (layout[which],)


def _split_axis(discovery: Discovery, node: fx.Node, axis: int, sizes: Sequence[Any]) -> Axes:
    """Split an axis in a fixed outer one and an inner one that holds equal runs of it."""
    source = discovery.first_input(node)
    axes = {
        other if other < axis else other + 1: held
        for other, held in discovery.axes(source).items()
        if other != axis
    }
    layout = discovery.layout(source, axis)
    if not is_elastic(layout):
        return axes
    n_outer = discovery.shapes[node][axis]
    is_fixed_outer = isinstance(sizes[axis], int) and sizes[axis] > 0
    part = None
    if is_fixed_outer and follows_widths(discovery, sizes[axis + 1]):
        part = _equal_part(discovery, node, layout, n_outer, 0)
    if part is None:
        discovery.dims.freeze(layout, f"{discovery.where(node)} splits it by sizes of its own")
        return axes
    return {**axes, axis + 1: part}


def _keep_axes(
    discovery: Discovery, node: fx.Node, places: dict[int, int], sizes: Sequence[Any] | None
) -> Axes:
    """Move axes to their places; one given as a number of its own, in ``sizes``, is frozen."""
    source = discovery.first_input(node)
    axes: Axes = {}
    for axis, layout in discovery.axes(source).items():
        if axis not in places:
            discovery.dims.freeze(layout, f"{discovery.where(node)} drops its axis")
            continue
        place = places[axis]
        if sizes is None or not is_elastic(layout) or follows_widths(discovery, sizes[place]):
            axes[place] = layout
        else:
            discovery.dims.freeze(layout, f"{discovery.where(node)} gives its size as a number")
    return axes


def follows_widths(discovery: Discovery, size: Any) -> bool:
    """Say whether a size in a reshape changes with the widths: -1, or computed from such a size.

    Args:
        discovery: The walk.
        size: The argument: a number, or the node that computes it.
    """
    if not isinstance(size, fx.Node):
        return bool(size == -1)
    if size in discovery.shapes:
        return False
    whole = size.args[0] if size.args else None
    which = argument(size, 1, "dim", None)
    if _name_of(size) == "getitem" and isinstance(whole, fx.Node) and _reads_shape(whole):
        whole = whole.args[0]
    elif _name_of(size) != "size":
        return any(follows_widths(discovery, source) for source in size.all_input_nodes)
    if not isinstance(whole, fx.Node) or not isinstance(which, int):
        return False
    axis = which % len(discovery.shapes[whole])
    return is_elastic(discovery.layout(whole, axis))


def _reads_shape(node: fx.Node) -> bool:
    name = _name_of(node)
    return name == "size" or (name == "getattr" and node.args[1] == "shape")


def _name_of(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
