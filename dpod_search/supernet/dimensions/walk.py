"""The state of one walk over a graph: what handlers read, extend and freeze.

A handler gets the walk and a node, may create, unify or freeze dimensions, and returns the
layouts of the node's output by axis. An axis that is not named has a fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import fx
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from dpod_search.supernet.dimensions.dims import DimTable
from dpod_search.supernet.dimensions.sizes import Sizes
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import ParameterPlan
from dpod_search.supernet.plans import ProductPlan
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.plans import plan_layer
from dpod_search.supernet.tracing.computed import holder_of
from dpod_search.supernet.tracing.trace import TracedModel
from dpod_search.supernet.tracing.tracked import Computed
from dpod_search.supernet.tracing.tracked import TrackedInt


Axes = dict[int, Layout]
Handler = Callable[["Discovery", fx.Node], Axes]


class Discovery:
    """The state of one walk over a graph, which handlers read and extend.

    Args:
        traced: The graph.
    """

    def __init__(self, traced: TracedModel) -> None:
        """Start before the first node."""
        self.dims = DimTable()
        self.layers: dict[str, LayerPlan] = {}
        self.parameters: dict[str, ParameterPlan] = {}
        self.products: list[ProductPlan] = []
        self.parts: dict[fx.Node, list[Axes]] = {}
        self.scratch: dict[fx.Node, Sequence[Scratch]] = {}
        self.shapes = traced.shapes
        self.truths = traced.truths
        self.batch_size = traced.batch_size
        self.modules = dict(traced.model.named_modules())
        self.uncounted: list[str] = []
        self.refusals: dict[str, str] = {}
        self.sizes = Sizes(self.dims, self.shapes, self.layout)
        self._inputs: dict[str, Layout] = {}
        self._traced = traced
        self._axes: dict[fx.Node, Axes] = {}
        self._own_parameters = dict(traced.model.named_parameters())
        self._buffers = dict(traced.model.named_buffers())
        self.called = frozenset(
            str(node.target) for node in traced.graph.nodes if node.op == "call_module"
        )
        self._from_inputs: set[fx.Node] = set()
        for node in traced.graph.nodes:
            if node.op == "placeholder" or self._from_inputs.intersection(node.all_input_nodes):
                self._from_inputs.add(node)

    def set_axes(self, node: fx.Node, axes: Axes) -> None:
        """Keep what a handler said of a node's output."""
        self._axes[node] = axes

    def axes(self, node: fx.Node) -> Axes:
        """Return the layouts of a node's output, for the axes that are not simply fixed."""
        held = self._axes.get(node, {})
        return {axis: self.dims.expand(layout) for axis, layout in held.items()}

    def layout(self, node: fx.Node, axis: int) -> Layout:
        """Return the layout of one axis of a node's output."""
        held = self._axes.get(node, {}).get(axis)
        return fixed(self.shapes[node][axis]) if held is None else self.dims.expand(held)

    def result_axes(self, node: fx.Node) -> tuple[Layout, ...]:
        """Return the layout of every axis of a node's output, of its first one if it has parts."""
        if node in self.shapes:
            return tuple(self.layout(node, axis) for axis in range(len(self.shapes[node])))
        parts = self.part_shapes(node)
        held = self.parts[node][0] if parts and node in self.parts else {}
        return tuple(
            held.get(axis) or fixed(size) for axis, size in enumerate(parts[0] if parts else ())
        )

    def where(self, node: fx.Node) -> str:
        """Describe a node for a message."""
        return self._traced.where(node)

    def module(self, node: fx.Node) -> nn.Module:
        """Return the module that a node calls."""
        module: nn.Module = self.modules[str(node.target)]
        return module

    def tensor_inputs(self, node: fx.Node) -> list[fx.Node]:
        """Return the tensors that a node reads."""
        return [source for source in node.all_input_nodes if source in self.shapes]

    def n_samples(self, node: fx.Node) -> int:
        """Return the samples that a node works on: 1 if it sees none of the model's inputs."""
        return self.batch_size if self.sees_inputs(node) else 1

    def sees_inputs(self, node: fx.Node) -> bool:
        """Say whether a node depends on any of the model's inputs."""
        return node in self._from_inputs

    def first_input(self, node: fx.Node) -> fx.Node:
        """Return the first tensor that a node reads."""
        return self.tensor_inputs(node)[0]

    def is_used(self, node: fx.Node) -> bool:
        """Say whether what a node makes is read, returned, or kept in an attribute."""
        return bool(node.users) or node.op == "output" or self.is_held(node)

    def is_held(self, node: fx.Node) -> bool:
        """Say whether the model's code keeps what a node makes in an attribute."""
        return node in self._traced.held

    def part_shapes(self, node: fx.Node) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the tensors that a node makes, if it makes several."""
        return self._traced.parts.get(node, ())

    def freeze_axes(self, node: fx.Node, reason: str, *, but: int | None = None) -> None:
        """Freeze what the axes of a node's output belong to, all or all but one."""
        for axis, layout in self.axes(node).items():
            if axis != but:
                self.dims.freeze(layout, reason)

    def record(
        self,
        node: fx.Node,
        *,
        inputs: Layout,
        weight_input: Layout,
        output: Layout,
        name: str = "",
    ) -> None:
        """Keep the plan of a layer, by default of the one that the node calls; see :meth:`keep`."""
        name = name or str(node.target)
        # Frames or tokens may be folded into the batch, so its axis counts too.
        n_positions = math.prod(self.shapes[node]) // (full_size(output) * self.n_samples(node))
        plan = plan_layer(name, self.modules[name], weight_input, output, n_positions)
        self.keep(plan, inputs, self.where(node))

    def keep(self, plan: LayerPlan, inputs: Layout, where: str) -> None:
        """Keep a plan; a layer called again shares widths with its first call.

        Args:
            plan: Of the layer.
            inputs: Layout of the axis that its weight is applied to.
            where: Names the operation, for reasons.
        """
        for layout in (inputs, plan.output):
            self.dims.join(layout, plan.name)
        known = self.layers.get(plan.name)
        if known is None:
            self.layers[plan.name] = plan
            self._inputs[plan.name] = inputs
            return
        self.dims.unify(self._inputs[plan.name], inputs, f"{where}, called again,")
        matrices = tuple(
            replace(one, n_positions=one.n_positions + again.n_positions)
            for one, again in zip(known.matrices, plan.matrices, strict=True)
        )
        n_positions = known.n_positions + plan.n_positions
        self.layers[plan.name] = replace(known, n_positions=n_positions, matrices=matrices)

    def keep_parameter(self, name: str, axes: Mapping[int, Layout]) -> None:
        """Slice a parameter of the model's own as the given axes are narrowed.

        Args:
            name: Path of the parameter.
            axes: Layouts of the axes that can be narrowed.
        """
        is_learnt = name in self._own_parameters
        parameter = self._own_parameters[name] if is_learnt else self._buffers[name]
        layouts = tuple(axes.get(i) or fixed(size) for i, size in enumerate(parameter.shape))
        for layout in axes.values():
            self.dims.join(layout, name)
        known = self.parameters.get(name)
        if known is None:
            itemsize = parameter.element_size()
            self.parameters[name] = ParameterPlan(name, layouts, itemsize, is_learnt=is_learnt)
            return
        for one, other in zip(known.axes, layouts, strict=True):
            self.dims.unify(one, other, f"{name}, used again,")

    def adopt_parameter(self, node: fx.Node, channels: Layout) -> bool:
        """Narrow a vector of the model's own, which one operation reads, as channels are.

        Args:
            node: What the operation reads.
            channels: What its elements belong to, in however many segments.

        Returns:
            Whether it is such a parameter.
        """
        name = str(node.target)
        plan = self.parameters.get(name)
        reads = self._list_reads(name)
        if plan is None or reads != [node]:
            return False
        self._axes[node] = {0: channels}
        self.parameters[name] = replace(plan, axes=(channels,))
        self.dims.join(channels, name)
        return True

    def _list_reads(self, name: str) -> list[fx.Node]:
        """Return where the model's code reads a parameter or buffer."""
        nodes = self._traced.graph.nodes
        return [node for node in nodes if node.op == "get_attr" and node.target == name]

    def nodes_inside(self, name: str) -> frozenset[fx.Node]:
        """Return the operations inside the calls of a module that is looked into."""
        calls = (call for call in self._traced.calls if call.path == name)
        return frozenset(node for call in calls for node in call.nodes)

    def adopt_filter(self, node: fx.Node, reader: fx.Node, rows: Layout) -> Layout:
        """Narrow a buffer that only convolutions read, a filter for each channel.

        Args:
            node: The weight.
            reader: The convolution.
            rows: What its first axis belongs to.

        Returns:
            What that is known to belong to; a fixed size if it is no such buffer.
        """
        name = str(node.target)
        is_filter = node.op == "get_attr" and name in self._buffers and node in self.shapes
        reads = self._list_reads(name)
        if not is_filter or not all(
            user.target is reader.target and user.args[1:2] == (read,)
            for read in reads
            for user in read.users
        ):
            return self.layout(node, 0)
        self.keep_parameter(name, {0: rows})
        self._axes[node] = {0: rows}
        return rows

    def path_of_parameter(self, parameter: nn.Parameter) -> str:
        """Return the path under which a parameter of the model is known, if it has several."""
        return next(name for name, own in self._own_parameters.items() if own is parameter)

    def freeze_layer(self, name: str, reason: str) -> None:
        """Freeze the input and output channels of a recorded layer."""
        for layout in (self._inputs[name], *self.layers[name].layouts):
            self.dims.freeze(layout, reason)

    def read_parameter(self, node: fx.Node) -> Axes:
        """Register a parameter that the model's own code reads; a buffer has fixed sizes."""
        name = str(node.target)
        if node not in self.shapes or name not in self._own_parameters:
            return {}
        if name not in self.parameters:
            shape = self.shapes[node]
            owner = self.modules.get(holder_of(name))
            # The kernel of a convolution is of no width, and is folded with the inputs.
            n_axes = 2 if isinstance(owner, _ConvNd) else len(shape)
            sized = [axis for axis, size in enumerate(shape[:n_axes]) if size > 1]
            axes = {axis: self.dims.add(shape[axis], name, is_made=False) for axis in sized}
            self.keep_parameter(name, axes)
        return {
            axis: layout
            for axis, layout in enumerate(self.parameters[name].axes)
            if is_elastic(layout)
        }


def freeze_inputs(discovery: Discovery, node: fx.Node, does: str) -> Axes:
    """Freeze all that a node reads, with the reason; its output has fixed sizes."""
    if node.op == "call_module":
        discovery.refusals.setdefault(str(node.target), f"{discovery.where(node)} {does}")
    for source in discovery.tensor_inputs(node):
        discovery.freeze_axes(source, f"{discovery.where(node)} {does}")
    return {}


def pass_but(discovery: Discovery, node: fx.Node, frozen: Collection[int], does: str) -> Axes:
    """Freeze some axes of the first tensor that a node reads, with the reason; the others pass.

    Args:
        discovery: The walk.
        node: The operation.
        frozen: The axes.
        does: What it does to them.
    """
    source = discovery.first_input(node)
    for axis in frozen:
        discovery.dims.freeze(discovery.layout(source, axis), f"{discovery.where(node)} {does}")
    return {axis: held for axis, held in discovery.axes(source).items() if axis not in frozen}


def keep_groups_whole(discovery: Discovery, node: fx.Node, layout: Layout, per_group: int) -> bool:
    """Coarsen dimensions to whole groups of elements; freeze them if groups straddle segments.

    Args:
        discovery: The walk.
        node: The layer that groups elements.
        layout: Of the axis that is grouped.
        per_group: Elements in a group.

    Returns:
        Whether the axis can be narrowed group by group.
    """
    if any(segment.size % per_group for segment in layout):
        discovery.dims.freeze(layout, f"{discovery.where(node)} has groups that straddle a concat")
        return False
    for segment in layout:
        discovery.dims.coarsen(segment, segment.size // per_group)
    return True


def pin_numbers(
    discovery: Discovery, node: fx.Node, given: Any = None, *, but: Sequence[object] = ()
) -> None:
    """Let attributes of the user's modules that an operation is given as numbers be no widths.

    Args:
        discovery: The walk.
        node: The operation.
        given: Which of its arguments; by default all.
        but: The numbers that may be ones.
    """
    pending = tree_leaves((node.args, node.kwargs) if given is None else given)
    while pending:
        number = pending.pop()
        if any(number is other for other in but):
            continue
        if isinstance(number, slice):
            pending += (number.start, number.stop, number.step)
        elif isinstance(number, TrackedInt) and isinstance(number.origin, Computed):
            pending += number.origin.operands
        elif isinstance(number, TrackedInt):
            discovery.sizes.bind(number, fixed(int(number)), discovery.where(node))
