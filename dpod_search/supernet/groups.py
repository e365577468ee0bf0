"""Channel-group discovery: walk the graph once and find what must share one width.

Convolutions and linear layers make new dimensions, adds make dimensions equal, the handler
table says how every other operation passes them on, and what reaches the model's output or an
operation that is not understood is frozen, with the reason kept for the user.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

from torch import fx
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.supernet.blocks import find_blocks
from dpod_search.supernet.dims import DimTable
from dpod_search.supernet.handlers import Axes
from dpod_search.supernet.handlers import Handler
from dpod_search.supernet.handlers import freeze_inputs
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.lookup import Handlers
from dpod_search.supernet.operations import AXIS_HANDLERS
from dpod_search.supernet.operations import MODULE_HANDLERS
from dpod_search.supernet.operations import MULTIPLICATIONS
from dpod_search.supernet.operations import READERS
from dpod_search.supernet.plans import BlockPlan
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import ParameterPlan
from dpod_search.supernet.plans import ProductPlan
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.plans import plan_layer
from dpod_search.supernet.resolving import FAILS
from dpod_search.supernet.resolving import make_groups
from dpod_search.supernet.resolving import resolve_plans
from dpod_search.supernet.sizes import Sizes
from dpod_search.supernet.sizes import pin_numbers
from dpod_search.supernet.subclasses import layer_type
from dpod_search.supernet.ties import freeze_tied_weights
from dpod_search.supernet.trace import TracedModel
from dpod_search.supernet.tracer import full_name
from dpod_search.supernet.unplanned import find_unplanned
from dpod_search.supernet.unplanned import freeze_unplanned
from dpod_search.supernet.unplanned import list_uncounted


_logger = logging.getLogger(__name__)

# Reasons in the error of a model that cannot be narrowed.
_N_TOLD = 3


class Discovery:
    """The state of one walk over a graph, which handlers read and extend.

    Args:
        traced: The graph.
        handlers: The user's own, by module type, function, method name, or full name of these;
            they go before the table's.
    """

    def __init__(self, traced: TracedModel, handlers: Handlers) -> None:
        """Start before the first node."""
        self.dims = DimTable()
        self.layers: dict[str, LayerPlan] = {}
        self.parameters: dict[str, ParameterPlan] = {}
        self.products: list[ProductPlan] = []
        self.parts: dict[fx.Node, list[Axes]] = {}
        self.scratch: dict[fx.Node, Sequence[Scratch]] = {}
        self.shapes = traced.shapes
        self.batch_size = traced.batch_size
        self.modules = dict(traced.model.named_modules())
        self.uncounted: list[str] = []
        self.refusals: dict[str, str] = {}
        self.sizes = Sizes(self)
        self._handlers = handlers
        self._inputs: dict[str, Layout] = {}
        self._traced = traced
        self._axes: dict[fx.Node, Axes] = {}
        self._own_parameters = dict(traced.model.named_parameters())
        self._from_inputs: set[fx.Node] = set()
        for node in traced.graph.nodes:
            if node.op == "placeholder" or self._from_inputs.intersection(node.all_input_nodes):
                self._from_inputs.add(node)

    def walk(self) -> None:
        """Visit every node in order."""
        for node in self._traced.graph.nodes:
            if node.op == "output":
                freeze_inputs(self, node, "of the model fixes it")
            elif node.op == "get_attr":
                self._axes[node] = self._read_parameter(node)
            elif node.op != "placeholder":
                self._axes[node] = self._handler(node)(self, node)

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
        return self.batch_size if node in self._from_inputs else 1

    def first_input(self, node: fx.Node) -> fx.Node:
        """Return the first tensor that a node reads."""
        return self.tensor_inputs(node)[0]

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
        n_positions = known.n_positions + plan.n_positions
        self.layers[plan.name] = replace(known, n_positions=n_positions)

    def keep_parameter(self, name: str, axes: Mapping[int, Layout]) -> None:
        """Slice a parameter of the model's own as the given axes are narrowed.

        Args:
            name: Path of the parameter.
            axes: Layouts of the axes that can be narrowed.
        """
        parameter = self._own_parameters[name]
        layouts = tuple(axes.get(i) or fixed(size) for i, size in enumerate(parameter.shape))
        for layout in axes.values():
            self.dims.join(layout, name)
        known = self.parameters.get(name)
        if known is None:
            self.parameters[name] = ParameterPlan(name, layouts, parameter.element_size())
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
        reads = [n for n in self._traced.graph.nodes if n.op == "get_attr" and n.target == name]
        if plan is None or reads != [node]:
            return False
        self._axes[node] = {0: channels}
        self.parameters[name] = replace(plan, axes=(channels,))
        self.dims.join(channels, name)
        return True

    def nodes_inside(self, name: str) -> frozenset[fx.Node]:
        """Return the operations inside the calls of a module that is looked into."""
        calls = (call for call in self._traced.calls if call.path == name)
        return frozenset(node for call in calls for node in call.nodes)

    def path_of_parameter(self, parameter: nn.Parameter) -> str:
        """Return the path under which a parameter of the model is known, if it has several."""
        return next(name for name, own in self._own_parameters.items() if own is parameter)

    def freeze_layer(self, name: str, reason: str) -> None:
        """Freeze the input and output channels of a recorded layer."""
        self.dims.freeze(self._inputs[name], reason)
        self.dims.freeze(self.layers[name].output, reason)

    def _read_parameter(self, node: fx.Node) -> Axes:
        """Register a parameter that the model's own code reads."""
        name = str(node.target)
        owner = self.modules[name.rpartition(".")[0]]
        if node not in self.shapes or name not in self._own_parameters or _is_layer(owner):
            return {}  # a weight read outside its layer is no free parameter
        if name not in self.parameters:
            shape = self.shapes[node]
            sized = [axis for axis, size in enumerate(shape) if size > 1]
            axes = {axis: self.dims.add(shape[axis], name, is_made=False) for axis in sized}
            self.keep_parameter(name, axes)
        return {
            axis: layout
            for axis, layout in enumerate(self.parameters[name].axes)
            if is_elastic(layout)
        }

    def _handler(self, node: fx.Node) -> Handler:
        found = self._handlers.find(node, self.modules)
        if found in READERS:
            return found
        makes_tensors = node in self.shapes or node in self._traced.parts
        computed = any(
            source not in self.shapes and source not in self._traced.parts
            for source in node.all_input_nodes
        )
        if found is None or not makes_tensors or (computed and found in AXIS_HANDLERS):
            return _not_understood
        return _with_hooks if node.op == "call_module" and _has_hooks(self.module(node)) else found


def _is_layer(module: nn.Module) -> bool:
    return layer_type(module) in MODULE_HANDLERS or full_name(type(module)).startswith("torch.nn.")


def _not_understood(discovery: Discovery, node: fx.Node) -> Axes:
    if node in discovery.shapes or discovery.part_shapes(node):
        pin_numbers(discovery, node)
    module = discovery.module(node) if node.op == "call_module" else None
    if module is None and discovery.tensor_inputs(node) and _may_multiply(node):
        discovery.uncounted.append(discovery.where(node))
    name = type(module).__name__ if module is not None else "this operation"
    return freeze_inputs(discovery, node, f"is not understood ({name})")


def _may_multiply(node: fx.Node) -> bool:
    """Say whether a function multiplies tensors, or is not PyTorch's and may do so."""
    if node.op == "call_method" or node.target in MULTIPLICATIONS:
        return node.target in MULTIPLICATIONS
    package = str(getattr(node.target, "__module__", "")).partition(".")[0]
    return package not in ("", "None", "torch", "_operator", "builtins", "math")


def _with_hooks(discovery: Discovery, node: fx.Node) -> Axes:
    # A hook may do anything to what goes in or comes out, and the graph does not show it.
    return freeze_inputs(discovery, node, "has hooks, which are not understood")


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def discover_groups(
    traced: TracedModel,
    *,
    handlers: Handlers | None = None,
    removes_blocks: bool = True,
    keep: Iterable[str] = (),
) -> Grouping:
    """Find the channel groups and the removable blocks of a traced model.

    Args:
        traced: The model's graph.
        handlers: The handler table; with entries of the user's own, perhaps.
        removes_blocks: Look for blocks too.
        keep: Names of groups to leave at full width all the same.

    Returns:
        Groups, frozen dimensions and layer plans.

    Raises:
        GroupingError: If nothing at all can be narrowed; names the first reasons.
    """
    discovery = Discovery(traced, handlers or Handlers())
    discovery.walk()
    freeze_tied_weights(discovery, traced.graph)
    kept = frozenset(keep)
    groups, frozen, numbers = make_groups(discovery, kept)
    told = {name for group in groups for name in group.members}
    told.update(name for item in frozen for name in item.members)
    unplanned = find_unplanned(discovery, traced.graph, told)
    frozen = [*freeze_unplanned(discovery, traced.graph, unplanned), *frozen]
    uncounted = tuple(dict.fromkeys([*discovery.uncounted, *list_uncounted(discovery, unplanned)]))
    if uncounted:
        _logger.warning(
            "macs of %d operations are not counted, no closed form covers them: %s",
            len(uncounted),
            ", ".join(uncounted),
        )
    blocks: list[BlockPlan] = []
    for call in find_blocks(discovery, traced) if removes_blocks else ():
        if call.path in kept:
            frozen.append(FrozenDimension(call.path, 1, (FAILS,), (call.path,)))
            continue
        inside = [name for name in discovery.layers if name.startswith(f"{call.path}.")]
        blocks.append(BlockPlan(call.path, len(groups)))
        groups.append(ChannelGroup(call.path, 1, tuple(inside), kind="block"))
    if not groups:
        raise _explain_none(discovery, frozen)
    return resolve_plans(
        discovery,
        traced,
        groups=groups,
        frozen=frozen,
        blocks=blocks,
        numbers=numbers,
        uncounted=uncounted,
    )


def _explain_none(discovery: Discovery, frozen: Sequence[FrozenDimension]) -> GroupingError:
    why = "; ".join(f"{item.name}: {item.reasons[0]}" for item in frozen[:_N_TOLD])
    why += f"; and {len(frozen) - _N_TOLD} more" if len(frozen) > _N_TOLD else ""
    none = "its layers make no channels" if discovery.layers else "it has no layers"
    return GroupingError(
        f"no channel group of the model can be narrowed ({why or none}); "
        "dpod-search needs hidden convolutions or linear layers"
    )
