"""The graph of a module, and which part of it each of its modules computes."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.export.source.layers import CannotWriteError
from dpod_search.inputs import ModelCall
from dpod_search.supernet.layers.elastic import layer_type
from dpod_search.supernet.tracing.tracer import Call
from dpod_search.supernet.tracing.tracer import Tracer
from dpod_search.supernet.tracing.tracer import run_tracer


@dataclass(eq=False)
class Scope:
    """One call of a module that is looked into.

    Args:
        path: Path of the module; empty for the whole.
        arguments: What it was called with, with nodes for tensors.
        nodes: Every operation in it.
        inner: Calls directly inside it.
    """

    path: str
    arguments: tuple[Any, ...]
    nodes: frozenset[fx.Node]
    inner: list[Scope] = field(default_factory=list)


@dataclass(frozen=True)
class TracedGraph:
    """A module's graph without what has no effect.

    Args:
        module: The module, which may hold constants that the trace added.
        whole: The outermost call.
        called: Paths of the modules that are looked into, wherever they are called.
        nodes: What is left of the graph, in order.
        same: For a node that does nothing in evaluation mode, the one it passes on.
        shapes: Shape of every tensor, for the example.
        input_names: What the inputs are called, in order.
    """

    module: nn.Module
    whole: Scope
    called: frozenset[str]
    nodes: tuple[fx.Node, ...]
    same: dict[fx.Node, fx.Node]
    shapes: dict[fx.Node, tuple[int, ...]]
    input_names: tuple[str, ...]

    @property
    def output(self) -> fx.Node:
        """The node that holds what the module returns."""
        return next(node for node in self.nodes if node.op == "output")

    def reads(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes that a node reads, without those that pass on."""
        return [self.resolve(n) for n in node.all_input_nodes]

    def resolve(self, node: fx.Node) -> fx.Node:
        """Return the node that makes what this one passes on."""
        while node in self.same:
            node = self.same[node]
        return node


def trace_graph(module: nn.Module, example: ModelCall) -> TracedGraph:
    """Trace a module in evaluation mode.

    Args:
        module: It may be given constants as attributes.
        example: What it is called with, more than one sample.

    Raises:
        CannotWriteError: If it cannot be traced, or takes other than tensors.
    """
    names = _name_inputs(module, example)
    error: Exception | None = None
    for traces_buffers in (True, False):
        tracer = Tracer(_is_layer, (), example, answers=False)
        tracer.proxy_buffer_attributes = traces_buffers
        try:
            graph = run_tracer(tracer, module)
            recorder = _Shapes(fx.GraphModule(module, graph))
            with torch.no_grad():
                recorder.run(*example.tensors)
        except Exception as caught:  # noqa: BLE001  # the module's code may raise anything
            error = caught
            continue
        return _clean(module, graph, tracer.calls, recorder.shapes, names)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise CannotWriteError(f"it cannot be traced: {reason}")


def _name_inputs(module: nn.Module, example: ModelCall) -> tuple[str, ...]:
    for value in (*example.args, *example.kwargs.values()):
        if not isinstance(value, Tensor):
            raise CannotWriteError(f"it is called with a {type(value).__name__}, no tensor")
    try:
        known = list(inspect.signature(module.forward).parameters)
    except (ValueError, TypeError):
        known = []
    given = len(example.args)
    return (*known[:given], *(["x"] * (given - len(known))), *example.kwargs)


def _is_layer(module: nn.Module) -> bool:
    """Say whether a call of ``torch.nn`` makes a module, though its class is the user's own."""
    return layer_type(module) is not type(module)


class _Shapes(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and note the shape of what it makes."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


def _clean(
    module: nn.Module,
    graph: fx.Graph,
    calls: Sequence[Call],
    shapes: dict[fx.Node, tuple[int, ...]],
    input_names: tuple[str, ...],
) -> TracedGraph:
    same = {node: node.args[0] for node in graph.nodes if _passes_on(node)}
    alive: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in same:
            continue
        if node.op in {"output", "placeholder"} or node in alive or _has_effect(node, module):
            alive.add(node)
            for read in node.all_input_nodes:
                while read in same:
                    read = same[read]
                alive.add(read)
    nodes = tuple(node for node in graph.nodes if node in alive)
    inputs = tuple(node for node in nodes if node.op == "placeholder")
    inside = {node for node in nodes if node.op not in {"placeholder", "output"}}
    whole = Scope("", inputs, frozenset(inside))
    scopes = [
        Scope(call.path, call.inputs, frozenset(call.nodes) & alive)
        for call in calls
        if any(node in alive for node in call.nodes)
    ]
    whole.inner = _nest(scopes)
    called = frozenset({"", *(scope.path for scope in scopes)})
    return TracedGraph(module, whole, called, nodes, same, shapes, input_names)


def _nest(scopes: Iterable[Scope]) -> list[Scope]:
    # Inner calls come before the ones around them.
    open_scopes: list[Scope] = []
    for scope in scopes:
        held = [other for other in open_scopes if other.nodes <= scope.nodes]
        scope.inner = held
        open_scopes = [other for other in open_scopes if other not in held]
        open_scopes.append(scope)
    return open_scopes


def _passes_on(node: fx.Node) -> bool:
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.target in _DROPPING or getattr(node.target, "__name__", "") == "stochastic_depth":
        return _argument(node, "training", 3 if node.target not in _DROPPING else 2) is False
    return False


_DROPPING: Collection[Any] = frozenset(
    {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
)


def _argument(node: fx.Node, name: str, position: int) -> Any:
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if len(node.args) > position else None


_CHANGING = frozenset(
    {operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv}
)


def _has_effect(node: fx.Node, module: nn.Module) -> bool:
    """Say whether a node changes a tensor that others may read."""
    if node.op == "call_method":
        return str(node.target).endswith("_")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        is_inplace = name.endswith("_") and not name.startswith("_")
        return node.target in _CHANGING or is_inplace or node.kwargs.get("inplace") is True
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))
    return False
