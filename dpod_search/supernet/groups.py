"""Channel-group discovery: walk the graph once and find what must share one width.

Convolutions and linear layers make new dimensions, adds make dimensions equal, the handler
table says how every other operation passes them on, and what reaches the model's output or an
operation that is not understood is frozen, with the reason kept for the user.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace

from torch import fx
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.supernet.dims import DimTable
from dpod_search.supernet.handlers import Axes
from dpod_search.supernet.handlers import Handler
from dpod_search.supernet.handlers import freeze_inputs
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.operations import AXIS_HANDLERS
from dpod_search.supernet.operations import FUNCTION_HANDLERS
from dpod_search.supernet.operations import METHOD_HANDLERS
from dpod_search.supernet.operations import MODULE_HANDLERS
from dpod_search.supernet.operations import MULTIPLICATIONS
from dpod_search.supernet.operations import NAMED_HANDLERS
from dpod_search.supernet.operations import READERS
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import plan_layer
from dpod_search.supernet.ties import freeze_tied_weights
from dpod_search.supernet.trace import TracedModel
from dpod_search.supernet.trace import full_name


_logger = logging.getLogger(__name__)


class Discovery:
    """The state of one walk over a graph, which handlers read and extend."""

    def __init__(self, traced: TracedModel) -> None:
        """Start before the first node."""
        self.dims = DimTable()
        self.layers: dict[str, LayerPlan] = {}
        self.shapes = traced.shapes
        self.modules = dict(traced.model.named_modules())
        self.uncounted: list[str] = []
        self._inputs: dict[str, Layout] = {}
        self._traced = traced
        self._batch_size = traced.batch_size
        self._axes: dict[fx.Node, Axes] = {}
        self._parameters = dict(traced.model.named_parameters())
        self._parameter_axes: dict[str, int] = {}

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
        return self._axes.get(node, {})

    def layout(self, node: fx.Node, axis: int) -> Layout:
        """Return the layout of one axis of a node's output."""
        return self.axes(node).get(axis) or fixed(self.shapes[node][axis])

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

    def first_input(self, node: fx.Node) -> fx.Node:
        """Return the first tensor that a node reads."""
        return self.tensor_inputs(node)[0]

    def freeze_axes(self, node: fx.Node, reason: str, *, but: int | None = None) -> None:
        """Freeze what the axes of a node's output belong to, all or all but one."""
        for axis, layout in self.axes(node).items():
            if axis != but:
                self.dims.freeze(layout, reason)

    def record(
        self, node: fx.Node, *, inputs: Layout, weight_input: Layout, output: Layout
    ) -> None:
        """Keep the plan of a layer; a layer called again shares widths with its first call."""
        name = str(node.target)
        shape = self.shapes[node]
        module = self.modules[name]
        # Frames or tokens may be folded into the batch, so its axis counts too.
        n_positions = math.prod(shape) // (full_size(output) * self._batch_size)
        for layout in (inputs, output):
            self.dims.join(layout, name)
        known = self.layers.get(name)
        if known is None:
            self.layers[name] = plan_layer(name, module, weight_input, output, n_positions)
            self._inputs[name] = inputs
        else:
            self.dims.unify(self._inputs[name], inputs, f"{self.where(node)}, called again,")
            self.layers[name] = replace(known, n_positions=known.n_positions + n_positions)

    def freeze_layer(self, name: str, reason: str) -> None:
        """Freeze the input and output channels of a recorded layer."""
        self.dims.freeze(self._inputs[name], reason)
        self.dims.freeze(self.layers[name].output, reason)

    def _read_parameter(self, node: fx.Node) -> Axes:
        """Register a parameter that the model's own code reads, if one axis of it has a size."""
        name = str(node.target)
        owner = self.modules[name.rpartition(".")[0]]
        if node not in self.shapes or name not in self._parameters or _is_layer(owner):
            return {}  # a weight read outside its layer is no free parameter
        shape = self.shapes[node]
        if name in self.layers:  # it is read again
            return {self._parameter_axes[name]: self.layers[name].output}
        sized = [axis for axis, size in enumerate(shape) if size > 1]
        if not sized:
            return {}
        axis = sized[-1]
        output = self.dims.add(shape[axis], name, is_made=False)
        others = math.prod(shape) // shape[axis]
        itemsize = self._parameters[name].element_size()
        self.layers[name] = LayerPlan(
            name, "parameter", output, fixed(1), 0, 0, others, 0, itemsize, axis
        )
        self._inputs[name] = output
        self._parameter_axes[name] = axis
        return {axis: output}

    def _handler(self, node: fx.Node) -> Handler:
        found: Handler | None
        if node.op == "call_module":
            kind = type(self.module(node))
            found = MODULE_HANDLERS.get(kind) or NAMED_HANDLERS.get(full_name(kind))
        elif node.op == "call_method":
            found = METHOD_HANDLERS.get(str(node.target))
        else:
            found = FUNCTION_HANDLERS.get(node.target)  # type: ignore[arg-type]  # a function
            found = found or NAMED_HANDLERS.get(full_name(node.target))
        if found in READERS:
            return found
        computed = any(source not in self.shapes for source in node.all_input_nodes)
        if found is None or node not in self.shapes or (computed and found in AXIS_HANDLERS):
            return _not_understood
        return _with_hooks if node.op == "call_module" and _has_hooks(self.module(node)) else found


def _is_layer(module: nn.Module) -> bool:
    return type(module) in MODULE_HANDLERS or full_name(type(module)).startswith("torch.nn.")


def _not_understood(discovery: Discovery, node: fx.Node) -> Axes:
    if not discovery.tensor_inputs(node):
        return {}
    module = discovery.module(node) if node.op == "call_module" else None
    has_weights = module is not None and any(True for _ in module.parameters())
    if has_weights or (module is None and node.target in MULTIPLICATIONS):
        discovery.uncounted.append(discovery.where(node))
    name = type(module).__name__ if module is not None else "this operation"
    return freeze_inputs(discovery, node, f"is not understood ({name})")


def _with_hooks(discovery: Discovery, node: fx.Node) -> Axes:
    # A hook may do anything to what goes in or comes out, and the graph does not show it.
    module = discovery.module(node)
    if any(True for _ in module.parameters()):
        discovery.uncounted.append(discovery.where(node))
    return freeze_inputs(discovery, node, "has hooks, which are not understood")


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def discover_groups(traced: TracedModel, *, keep: Iterable[str] = ()) -> Grouping:
    """Find the channel groups of a traced model.

    Args:
        traced: The model's graph.
        keep: Names of groups to leave at full width all the same.

    Returns:
        Groups, frozen dimensions and layer plans.

    Raises:
        GroupingError: If nothing at all can be narrowed; names the first reasons.
    """
    discovery = Discovery(traced)
    discovery.walk()
    freeze_tied_weights(discovery, traced.graph)
    if discovery.uncounted:
        _logger.warning(
            "macs of %d operations are not counted, no closed form covers them: %s",
            len(discovery.uncounted),
            ", ".join(dict.fromkeys(discovery.uncounted)),
        )
    kept = set(keep)
    groups: list[ChannelGroup] = []
    frozen: list[FrozenDimension] = []
    numbers: dict[int, int] = {}
    for index, dim in discovery.dims.roots():
        name = dim.members[0]
        reasons = [*dim.reasons, *(["running it narrower fails"] if name in kept else [])]
        if not dim.is_made:
            continue  # the size of a parameter alone is no width
        if reasons or dim.n_units < 2:
            only_one = [] if reasons else ["it has one channel, or one whole group, only"]
            frozen.append(FrozenDimension(name, dim.full, (*reasons, *only_one)))
        else:
            numbers[index] = len(groups)
            unit = dim.full // dim.n_units
            groups.append(ChannelGroup(name, dim.n_units, tuple(dim.members), unit))
    if not groups:
        why = "; ".join(f"{item.name}: {item.reasons[0]}" for item in frozen[:3])
        raise GroupingError(
            f"no channel group of the model can be narrowed ({why or 'it has no layers'}); "
            "dpod-search needs hidden convolutions or linear layers"
        )
    resolve = discovery.dims.resolve
    layers = tuple(
        replace(
            plan,
            output=resolve(plan.output, numbers),
            weight_input=resolve(plan.weight_input, numbers),
        )
        for plan in discovery.layers.values()
    )
    return Grouping(
        groups=tuple(groups),
        frozen=tuple(frozen),
        layers=layers,
        uncounted=tuple(discovery.uncounted),
        runs_channels_last=traced.runs_channels_last,
    )
