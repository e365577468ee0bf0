"""Handlers of operations that choose elements of an axis: by number, by order, or to write to."""

from __future__ import annotations

from torch import fx

from dpod_search.supernet.dimensions.splitting import index_axes
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pass_but
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


def choose_by_number(discovery: Discovery, node: fx.Node) -> Axes:
    """``index_select``: some elements of an axis, in an order of the caller's."""
    axis = _axis_of(discovery, node, 1)
    if axis is None:
        return freeze_inputs(discovery, node, "chooses along an axis that is computed")
    return pass_but(discovery, node, {axis}, "chooses of it by number")


def gather(discovery: Discovery, node: fx.Node) -> Axes:
    """``gather``: along one axis places that an index has for every element of the others."""
    source, index = argument(node, 0, "input", None), argument(node, 2, "index", None)
    if name_of(node) == "take_along_dim":
        index, axis = argument(node, 1, "indices", None), _axis_of(discovery, node, 2)
    else:
        axis = _axis_of(discovery, node, 1)
    known = [isinstance(t, fx.Node) and t in discovery.shapes for t in (source, index)]
    if axis is None or not all(known):
        return freeze_inputs(discovery, node, "chooses in a way that cannot be followed")
    assert isinstance(source, fx.Node)
    assert isinstance(index, fx.Node)
    where = discovery.where(node)
    for tensor in (source, index):
        discovery.dims.freeze(discovery.layout(tensor, axis), f"{where} chooses of it by number")
    axes: Axes = {}
    for other, size in enumerate(discovery.shapes[node]):
        if other == axis:
            continue
        # An index may be smaller than what it chooses from.
        one, two = (discovery.layout(tensor, other) for tensor in (source, index))
        if size != discovery.shapes[source][other]:
            discovery.dims.freeze(one, f"{where} takes a part of it")
        else:
            discovery.dims.unify(one, two, where)
        axes[other] = two
    return axes


def order_along(discovery: Discovery, node: fx.Node) -> Axes:
    """``topk``, ``sort``, running sums: the axis stays where it is, and is not narrowed."""
    axis = _axis_of(discovery, node, 2 if name_of(node) == "topk" else 1, default=-1)
    if axis is None:
        return freeze_inputs(discovery, node, "orders along an axis that is computed")
    held = pass_but(discovery, node, {axis}, "puts it in an order")
    if node in discovery.shapes:
        return held
    discovery.parts[node] = [held] * len(discovery.part_shapes(node))
    return {}


def write(discovery: Discovery, node: fx.Node) -> Axes:
    """An assignment to a part of a tensor: whole axes are shared with what is written."""
    target, value = node.args[0], node.args[2]
    if not isinstance(target, fx.Node) or target not in discovery.shapes:
        return {}
    part = index_axes(discovery, node, target, "writes to")
    if part is None:
        return freeze_inputs(discovery, node, "writes to a part that is computed")
    if not isinstance(value, fx.Node) or value not in discovery.shapes:
        return {}
    where = discovery.where(node)
    sizes = discovery.shapes[value]
    shift = len(part) - len(sizes)
    for axis, size in enumerate(sizes):
        layout = discovery.layout(value, axis)
        if axis + shift < 0:  # axes of one element may stand in front
            discovery.dims.freeze(layout, f"{where} drops its axis")
            continue
        held = part[axis + shift]
        if size == 1 < full_size(held):
            discovery.dims.freeze(layout, f"{where} repeats it")
        else:
            discovery.dims.unify(held, layout, where)
    return {}


def _axis_of(
    discovery: Discovery, node: fx.Node, position: int, *, default: int | None = None
) -> int | None:
    chosen = argument(node, position, "dim", node.kwargs.get("axis", default))
    n_axes = len(discovery.shapes[discovery.first_input(node)])
    return chosen % n_axes if isinstance(chosen, int) else None
