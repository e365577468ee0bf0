"""Handlers: how channel dimensions pass through each kind of operation.

A handler gets the discovery and a node, may create, unify or freeze dimensions, and returns the
layouts of the node's output by axis. An axis that is not named has a fixed size. The table in
``operations.py`` says which operation has which handler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from torch import fx
from torch import nn

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import is_elastic


if TYPE_CHECKING:
    from dpod_search.supernet.groups import Discovery


Axes = dict[int, Layout]
Handler = Callable[["Discovery", fx.Node], Axes]


def convolve(discovery: Discovery, node: fx.Node) -> Axes:
    """Convolution: new output channels; depthwise keeps its input's channels."""
    module = discovery.module(node)
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    source = discovery.first_input(node)
    n_spatial = len(module.kernel_size)
    if len(discovery.shapes[source]) != n_spatial + 2:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is given pictures without a batch dimension")
    inputs = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} slides over it", but=1)
    name = str(node.target)
    known = discovery.layers.get(name)
    if module.groups == 1:
        weight_input = inputs
        output = known.output if known else discovery.dims.add(module.out_channels, name)
    elif module.groups == module.in_channels == module.out_channels:
        weight_input, output = fixed(1), inputs
    else:
        discovery.dims.freeze(inputs, f"{discovery.where(node)} is a grouped convolution")
        weight_input = fixed(module.in_channels // module.groups)
        output = fixed(module.out_channels)
        inputs = fixed(module.in_channels)
    discovery.record(node, inputs=inputs, weight_input=weight_input, output=output)
    return {1: output}


def multiply_matrix(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis, applied at every place of the others."""
    module = discovery.module(node)
    assert isinstance(module, nn.Linear)
    source = discovery.first_input(node)
    last = len(discovery.shapes[source]) - 1
    inputs = discovery.layout(source, last)
    name = str(node.target)
    known = discovery.layers.get(name)
    output = known.output if known else discovery.dims.add(module.out_features, name)
    # Places are counted once, at full width, so their number must not change with the widths.
    discovery.freeze_axes(source, f"{discovery.where(node)} runs along another axis", but=last)
    discovery.record(node, inputs=inputs, weight_input=inputs, output=output)
    return {last: output}


def normalize_batch(discovery: Discovery, node: fx.Node) -> Axes:
    """BatchNorm: carries its input's channels."""
    source = discovery.first_input(node)
    inputs = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    return {1: inputs}


def carry(discovery: Discovery, node: fx.Node) -> Axes:
    """Element by element: every axis passes as it is."""
    return dict(discovery.axes(discovery.first_input(node)))


def pool(discovery: Discovery, node: fx.Node) -> Axes:
    """Pooling over space: channels pass, and space must not be elastic."""
    source = discovery.first_input(node)
    discovery.freeze_axes(source, f"{discovery.where(node)} pools over it", but=1)
    return {1: discovery.layout(source, 1)}


def combine(discovery: Discovery, node: fx.Node) -> Axes:
    """Add, subtract, multiply, divide: operands that broadcast against each other."""
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
    sources: list[fx.Node] = list(argument(node, 0, "tensors", ()))  # a tensor may come twice
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
    return flatten_axes(discovery, node, start, end)


def reshape(discovery: Discovery, node: fx.Node) -> Axes:
    """View or reshape: understood where it is a flatten to ``(N, -1)``."""
    source = discovery.first_input(node)
    sizes = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = tuple(sizes[0])
    before, after = discovery.shapes[source], discovery.shapes[node]
    if len(sizes) == 2 and sizes[1] == -1 and before[0] == after[0]:
        return flatten_axes(discovery, node, 1, len(before) - 1)
    return freeze_inputs(discovery, node, "reshapes it in a way that is not a flatten to (N, -1)")


def average(discovery: Discovery, node: fx.Node) -> Axes:
    """Mean over axes: the others pass."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    chosen = argument(node, 1, "dim", node.kwargs.get("axis"))
    listed = chosen if isinstance(chosen, Sequence) else [chosen]
    gone = {int(axis) % n_axes for axis in listed if axis is not None} or set(range(n_axes))
    keeps = len(discovery.shapes[node]) == n_axes
    axes: Axes = {}
    for axis, layout in discovery.axes(source).items():
        if axis in gone:
            discovery.dims.freeze(layout, f"{discovery.where(node)} averages over it")
        else:
            axes[axis if keeps else axis - sum(other < axis for other in gone)] = layout
    return axes


def read_shape(_discovery: Discovery, _node: fx.Node) -> Axes:
    """Reading a size: harmless by itself; what is done with it is looked at where it is used."""
    return {}


def read_attribute(discovery: Discovery, node: fx.Node) -> Axes:
    """Reading an attribute of a tensor: harmless for the ones that describe it."""
    if node.args[1] in ("shape", "ndim", "dtype", "device", "is_cuda"):
        return {}
    return freeze_inputs(discovery, node, f"reads its attribute {node.args[1]!r}")


def freeze_inputs(discovery: Discovery, node: fx.Node, does: str) -> Axes:
    """Freeze all that a node reads, with the reason; its output has fixed sizes."""
    for source in discovery.tensor_inputs(node):
        discovery.freeze_axes(source, f"{discovery.where(node)} {does}")
    return {}


def flatten_axes(discovery: Discovery, node: fx.Node, start: int, end: int) -> Axes:
    """Merge axes ``start`` to ``end`` (inclusive) into one."""
    source = discovery.first_input(node)
    shape = discovery.shapes[source]
    axes: Axes = {}
    for axis, layout in discovery.axes(source).items():
        if axis < start:
            axes[axis] = layout
        elif axis > end:
            axes[axis - (end - start)] = layout
        elif not is_elastic(layout):
            continue  # a fixed axis must not take the place of the elastic one beside it
        elif math.prod(shape[start:axis]) != 1:
            discovery.dims.freeze(layout, f"{discovery.where(node)} folds it behind other axes")
        else:
            places = math.prod(shape[axis + 1 : end + 1])
            axes[start] = tuple(
                Segment(segment.group, segment.full, segment.repeat * places) for segment in layout
            )
    return axes


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """Return an argument of a call, given by position or by name."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)
