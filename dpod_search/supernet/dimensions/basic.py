"""Handlers: how channel dimensions pass through the common operations.

The table in ``table.py`` says which operation has which handler.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pass_but
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


_TRANSPOSED = ("T", "mT")
_NAMED_PARTS = ("values", "indices")  # of what looks for an extreme along an axis


def carry(discovery: Discovery, node: fx.Node) -> Axes:
    """Element by element: every axis passes as it is."""
    return dict(discovery.axes(discovery.first_input(node)))


def combine(discovery: Discovery, node: fx.Node) -> Axes:
    """Add, subtract, multiply, divide: operands that broadcast against each other."""
    if node not in discovery.shapes:  # where(condition), which counts
        return freeze_inputs(discovery, node, "returns as many elements as its values say")
    shape = discovery.shapes[node]
    axes: Axes = {}
    for source in discovery.tensor_inputs(node):
        shift = len(shape) - len(discovery.shapes[source])
        for axis, size in enumerate(discovery.shapes[source]):
            if size == 1 != shape[axis + shift]:
                discovery.dims.freeze(
                    discovery.layout(source, axis), f"{discovery.where(node)} broadcasts it"
                )
                continue
            layout = discovery.layout(source, axis)
            if axis + shift in axes:
                discovery.dims.unify(axes[axis + shift], layout, discovery.where(node))
            else:
                axes[axis + shift] = layout
    return axes


def concatenate(discovery: Discovery, node: fx.Node) -> Axes:
    """Concat: segments in a row on its axis, shared widths on the others."""
    given = argument(node, 0, "tensors", ())
    if isinstance(given, fx.Node):
        return freeze_inputs(discovery, node, "joins parts that are used together")
    sources: list[fx.Node] = list(given)  # a tensor may come twice
    n_axes = len(discovery.shapes[node])
    chosen = int(argument(node, 1, "dim", node.kwargs.get("axis", 0))) % n_axes
    axes: Axes = {}
    for axis in range(n_axes):
        layouts = [discovery.layout(source, axis) for source in sources]
        if axis == chosen:
            axes[axis] = tuple(segment for layout in layouts for segment in layout)
            continue
        for layout in layouts[1:]:
            discovery.dims.unify(layouts[0], layout, discovery.where(node))
        axes[axis] = layouts[0]
    return axes


def stack(discovery: Discovery, node: fx.Node) -> Axes:
    """Stack: a new axis of so many parts, shared widths on the others."""
    given = argument(node, 0, "tensors", ())
    chosen = argument(node, 1, "dim", 0)
    if isinstance(given, fx.Node) or not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "joins parts that are used together")
    first, *others = given
    new = chosen % len(discovery.shapes[node])
    axes: Axes = {}
    for axis in range(len(discovery.shapes[first])):
        layout = discovery.layout(first, axis)
        for other in others:
            discovery.dims.unify(layout, discovery.layout(other, axis), discovery.where(node))
        axes[axis + (axis >= new)] = layout
    return axes


def turn(discovery: Discovery, node: fx.Node) -> Axes:
    """Roll and flip: every axis passes, and those that are turned keep their width."""
    source = discovery.first_input(node)
    is_roll = name_of(node) == "roll"
    chosen = argument(node, 2 if is_roll else 1, "dims", None)
    listed = chosen if isinstance(chosen, Sequence) else [chosen]
    if not is_roll and len(node.args) > 2:  # x.flip(2, 3)
        listed = node.args[1:]
    if not all(isinstance(axis, int) for axis in listed):
        return freeze_inputs(discovery, node, "turns it along every axis, or a computed one")
    n_axes = len(discovery.shapes[source])
    turned = {axis % n_axes for axis in listed if isinstance(axis, int)}
    return pass_but(discovery, node, turned, "turns it")


def read_shape(_discovery: Discovery, _node: fx.Node) -> Axes:
    """Reading a size: harmless by itself; what is done with it is looked at where it is used."""
    return {}


def read_attribute(discovery: Discovery, node: fx.Node) -> Axes:
    """Reading an attribute of a tensor: harmless for the ones that describe it."""
    if node.args[1] in ("shape", "ndim", "dtype", "device", "is_cuda"):
        return {}
    source, name = node.args[0], str(node.args[1])
    if not isinstance(source, fx.Node):
        return freeze_inputs(discovery, node, f"reads its attribute {name!r}")
    if name in _TRANSPOSED and len(discovery.shapes.get(source, ())) == 2:
        return {1 - axis: layout for axis, layout in discovery.axes(source).items()}
    parts = discovery.parts.get(source)
    if parts is not None and name in _NAMED_PARTS and len(parts) == len(_NAMED_PARTS):
        return dict(parts[_NAMED_PARTS.index(name)])
    for layout in (held for part in parts or () for held in part.values()):
        discovery.dims.freeze(layout, f"{discovery.where(node)} reads its attribute {name!r}")
    return freeze_inputs(discovery, node, f"reads its attribute {name!r}")
