"""Handlers: how channel dimensions pass through the common layers and operations.

The table in ``table.py`` says which operation has which handler.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import full_name


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
    inputs = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} slides over it", but=1)
    known = discovery.layers.get(name)
    if module.groups == 1:
        weight_input = inputs
        output = known.output if known else discovery.dims.add(module.out_channels, name)
    else:
        per_group = module.in_channels // module.groups
        weight_input = fixed(per_group)
        if keep_groups_whole(discovery, node, inputs, per_group):
            output = scale(inputs, Fraction(module.out_channels, module.in_channels))
        else:
            inputs, output = fixed(module.in_channels), fixed(module.out_channels)
    discovery.record(node, inputs=inputs, weight_input=weight_input, output=output, name=name)
    return {1: output}


def _hold_padded(
    discovery: Discovery, source: fx.Node, module: nn.Conv1d | nn.Conv2d | nn.Conv3d
) -> Scratch:
    """Return the padded input that a convolution makes first, beside its result."""
    sides = module._reversed_padding_repeated_twice[::-1]
    amounts = [0, 0, *(low + high for high, low in zip(sides[::2], sides[1::2], strict=True))]
    axes = [discovery.layout(source, axis) for axis in range(len(amounts))]
    padded = tuple((*axis, *fixed(more)) for axis, more in zip(axes, amounts, strict=True))
    return Scratch(((float(module.weight.element_size()), padded),), has_result=True)


def multiply_matrix(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis, applied at every place of the others."""
    module = discovery.module(node)
    assert isinstance(module, nn.Linear)
    return plan_matrix(discovery, node, str(node.target), module)


def plan_matrix(discovery: Discovery, node: fx.Node, name: str, module: nn.Linear) -> Axes:
    """Record a linear layer; arguments as of :func:`plan_convolution`."""
    source = argument(node, 0, "input", None)
    last = len(discovery.shapes[source]) - 1
    inputs = discovery.layout(source, last)
    known = discovery.layers.get(name)
    output = known.output if known else discovery.dims.add(module.out_features, name)
    # Places are counted once, at full width, so their number must not change with the widths.
    discovery.freeze_axes(source, f"{discovery.where(node)} runs along another axis", but=last)
    discovery.record(node, inputs=inputs, weight_input=inputs, output=output, name=name)
    return {last: output}


def normalize_batch(discovery: Discovery, node: fx.Node) -> Axes:
    """BatchNorm: carries its input's channels."""
    source = discovery.first_input(node)
    inputs = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    return {1: inputs}


def normalize_layer(discovery: Discovery, node: fx.Node) -> Axes:
    """LayerNorm over one axis: carries all axes."""
    module = discovery.module(node)
    assert isinstance(module, nn.LayerNorm)
    source = discovery.first_input(node)
    if len(module.normalized_shape) != 1:
        return freeze_inputs(discovery, node, "normalises several axes at once")
    # torchvision's LayerNorm2d moves the channels to the back, and to the front again.
    n_axes = len(discovery.shapes[source])
    axis = 1 if is_channels_first(module) else n_axes - 1
    inputs = discovery.layout(source, axis)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    rows = tuple(discovery.layout(source, i) for i in range(n_axes) if i != axis)
    # A mean and a deviation for each row, which go at once.
    discovery.scratch[node] = (Scratch(((8.0, rows),), has_result=True),)
    return {**discovery.axes(source), axis: inputs}


def normalize_groups(discovery: Discovery, node: fx.Node) -> Axes:
    """GroupNorm: channels are narrowed by whole groups, or freely if there is only one."""
    module = discovery.module(node)
    assert isinstance(module, nn.GroupNorm)
    source = discovery.first_input(node)
    inputs = discovery.layout(source, 1)
    per_group = module.num_channels // module.num_groups
    if module.num_groups > 1 and not keep_groups_whole(discovery, node, inputs, per_group):
        inputs = fixed(module.num_channels)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    groups = scale(inputs, Fraction(1, per_group)) if module.num_groups > 1 else fixed(1)
    statistics = (8.0, (discovery.layout(source, 0), groups))
    discovery.scratch[node] = (Scratch((statistics,), has_result=True),)
    return {1: inputs}


def is_channels_first(module: nn.LayerNorm) -> bool:
    """Say whether a LayerNorm is torchvision's, which normalises axis 1 of pictures."""
    return full_name(type(module)) == "torchvision.models.convnext.LayerNorm2d"


def carry(discovery: Discovery, node: fx.Node) -> Axes:
    """Element by element: every axis passes as it is."""
    return dict(discovery.axes(discovery.first_input(node)))


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
