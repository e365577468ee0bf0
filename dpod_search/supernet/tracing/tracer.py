"""The tracer: which modules and functions are one operation, and which are looked into."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import operator
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import is_dataclass
from typing import Any
from typing import Literal

from torch import Tensor
from torch import fx
from torch import nn
from torch.utils import _pytree as pytree

from dpod_search.inputs import ModelCall
from dpod_search.supernet.tracing.computed import computes_weight
from dpod_search.supernet.tracing.computed import is_step
from dpod_search.supernet.tracing.lines import find_line
from dpod_search.supernet.tracing.peeking import Peek
from dpod_search.supernet.tracing.peeking import with_len
from dpod_search.supernet.tracing.peeking import without_checks
from dpod_search.supernet.tracing.places import Places
from dpod_search.supernet.tracing.recording import Recorder
from dpod_search.supernet.tracing.recording import leaves_of
from dpod_search.supernet.tracing.tracked import tracking
from dpod_search.supernet.tracing.transformers import TRANSFORMERS
from dpod_search.supernet.tracing.whole_calls import recording_whole_calls


Buffers = Literal["none", "filters", "all"]


@dataclass(frozen=True)
class Call:
    """A call of one of the user's modules, whose inside the graph shows.

    Args:
        path: Path of the module.
        inputs: What it was called with.
        output: What it returned.
        nodes: The operations inside it.
    """

    path: str
    inputs: tuple[object, ...]
    output: object
    nodes: tuple[fx.Node, ...]


# What the code may ask of a tensor that is the same for all its values and sizes.
_SETTINGS = frozenset(
    {"dtype", "device", "layout", "is_cuda", "is_sparse", "is_quantized", "ndim"}
)


# What tells sizes of a tensor, and nothing of its values.
_SIZES = frozenset({"size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous"})
_SIZE_ATTRIBUTES = frozenset({"shape", "ndim"})


def _asks_for_size(node: fx.Node) -> bool:
    name = name_of(node)
    return name in _SIZES or (name == "getattr" and node.args[1] in _SIZE_ATTRIBUTES)


_TRACING = threading.RLock()
# Packages whose functions are one operation each, by whatever name they are called.
_PACKAGES = ("einops",)


class _Traced(fx.Proxy):
    """A value of the trace that is a number where Python wants one."""

    def __getattr__(self, k: str) -> Any:
        """Answer what a tensor is besides its values and sizes; else an attribute of the trace."""
        tracer = self.tracer
        if k in _SETTINGS and isinstance(tracer, Tracer) and tracer.answers:
            return getattr(tracer.evaluate(self.node), k)
        return super().__getattr__(k)

    def __index__(self) -> int:
        """Answer ``range``, slices and indices of what is no part of the trace."""
        return operator.index(self._read())

    def __int__(self) -> int:
        """Answer ``int``."""
        return int(self._read())

    def __float__(self) -> float:
        """Answer ``float``."""
        return float(self._read())

    def __setitem__(self, part: Any, value: Any) -> None:
        """Note that a part of a tensor is written to."""
        self.tracer.create_proxy("call_function", operator.setitem, (self, part, value), {})

    def _read(self) -> Any:
        assert isinstance(self.tracer, Tracer)
        return self.tracer.read(self)


class Tracer(fx.Tracer):
    """Leaves PyTorch's modules and further ones whole, and notes the calls of the others.

    What the code decides by sizes it decides as on the example; ``deciding`` has the values that
    were asked for. ``held`` has what lies in attributes of modules after the trace. ``lines`` has the ``file:line`` of the user's code that made a node.

    Args:
        is_leaf: Says of a module whether it is one operation, whatever its code does.
        leaf_functions: Functions that are one operation each.
        example: What the model is called with; each of its tensors is an input of the graph.
        answers: Whether the code is told what sizes and settings of tensors are on the example; the
            graph is then one of such inputs.
        buffers: Which buffers are read as a part of the trace, and not as the tensors they are.
    """

    def __init__(
        self,
        is_leaf: Callable[[nn.Module], bool],
        leaf_functions: Sequence[Callable[..., Any]],
        example: ModelCall,
        *,
        answers: bool = True,
        buffers: Buffers = "none",
    ) -> None:
        """Start with no calls."""
        loaded = [sys.modules[name] for name in _PACKAGES if name in sys.modules]
        super().__init__((math, *loaded), tuple(leaf_functions))  # type: ignore[arg-type]
        self.calls: list[Call] = []
        self.deciding: list[fx.Node] = []
        self.held: frozenset[fx.Node] = frozenset()
        self.lines: dict[fx.Node, str] = {}
        self.answers = answers
        self._buffers = buffers
        self._is_leaf = is_leaf
        self._example = example
        self._peek = Peek(example.tensors)
        self._places: Places | None = None

    def create_node(  # noqa: PLR0917  # as PyTorch has it
        self,
        kind: str,
        target: fx.node.Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any | None = None,
    ) -> fx.Node:
        """Note which line of the user's makes the node; whole stack traces take a tenth of a build."""
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        line = find_line(sys._getframe(1))
        if line:
            self.lines[node] = line
        return node

    def create_arg(self, a: Any) -> Any:
        """Let a tensor of the model be read where it lies."""
        name = self._find_name(a) if isinstance(a, Tensor) else None
        return (
            super().create_arg(a) if name is None else self.create_node("get_attr", name, (), {})
        )

    def _find_name(self, tensor: Tensor) -> str | None:
        """Return the path of a tensor of the model; PyTorch goes through all of them each time."""
        if self._places is None:
            self._places = Places(self.root)
        return self._places.find(tensor)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: dict[str, Any] | tuple[Any, ...] | None = None,
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Call the model as the example does, whatever its signature, and take its tensors."""
        names = _name_tensors(self._example, root_fn)
        inputs = self._example.map(lambda _: self.create_proxy("placeholder", next(names), (), {}))

        def run(root: nn.Module) -> Any:
            result = root_fn(root, *inputs.args, **inputs.kwargs)
            if any(is_dataclass(leaf) for leaf in pytree.tree_leaves(result)):
                return tuple(leaves_of(result, (fx.Proxy, Tensor)))
            return result

        return run, [self.root]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Make the value of a node."""
        return _Traced(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Answer a branch or an ``assert`` that looks at sizes, and not at values."""
        return bool(self.read(obj))

    def read(self, obj: fx.Proxy) -> Any:
        """Return a number of the trace: a size, or what was computed from sizes.

        Raises:
            TraceError: If it is a tensor, or comes from its values, which another input has not.
        """
        self.require_sizes(obj)
        self.deciding.append(obj.node)
        return self.evaluate(obj.node)

    def require_sizes(self, obj: fx.Proxy) -> None:
        """Raise if a value is a tensor, or comes from the values of one."""
        if not self.answers or not self._is_of_sizes(obj.node):
            raise fx.proxy.TraceError("a branch or a number depends on the values of a tensor")

    def _is_of_sizes(self, node: fx.Node) -> bool:
        """Say whether a value is no tensor, and of tensors is computed from sizes alone."""
        pending, seen = [node], {node}
        while pending:
            node = pending.pop()
            if isinstance(self.evaluate(node), Tensor):
                return False
            for source in node.all_input_nodes:
                if isinstance(self.evaluate(source), Tensor):
                    if not _asks_for_size(node):
                        return False
                elif source not in seen:
                    seen.add(source)
                    pending.append(source)
        return True

    def evaluate(self, node: fx.Node) -> Any:
        """Return what a node makes on the example."""
        return self._peek.evaluate(node, self.root)

    def take_record(self) -> Recorder | None:
        """Return what is known already of the values of a trace that has ended, if anything is."""
        return self._peek.take_record()

    def measure(self, obj: fx.Proxy) -> int:
        """Return the length of a shape, or of what was made of one.

        Raises:
            TypeError: If it is of a tensor, or may come from the values of one.
        """
        if not self._is_of_sizes(obj.node):
            raise TypeError("in a trace only shapes have a length")
        return self._peek.measure(obj.node, self.root)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        """Iterate over what an operation makes, as many parts as it makes on the example."""
        try:
            n_parts = self._peek.measure(obj.node, self.root)
        except TypeError:
            return super().iter(obj)
        part = operator.getitem
        return (part(obj, i) for i in range(n_parts))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether a module is one operation."""
        if self._is_leaf(m):
            return True
        if type(m) in TRANSFORMERS or computes_weight(m) or is_step(m):
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def _is_made_here(self, m: nn.Module) -> bool:
        """Say whether a module without tensors is none of the model's: made as it is called."""
        is_known = self.submodule_paths is None or m in self.submodule_paths
        return not is_known and not [*m.parameters(), *m.buffers()]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Read an attribute of a module: parameters, and buffers that may be filters, are nodes.

        A filter is repeated for every channel, and how many there are would be a plain number.
        """
        if self._peek.is_running:
            return attr_val
        if isinstance(attr_val, nn.Parameter) and not self.param_shapes_constant:
            name = self._find_name(attr_val)
            if name is not None:
                if name not in parameter_proxy_cache:
                    parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
                return parameter_proxy_cache[name]
        plain, self.proxy_buffer_attributes = (
            self.proxy_buffer_attributes,
            self.proxy_buffer_attributes
            or self._buffers == "all"
            or (self._buffers == "filters" and is_filter(attr_val)),
        )
        try:
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        finally:
            self.proxy_buffer_attributes = plain

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Note the call of a module that is looked into."""
        if self._peek.is_running or self._is_made_here(m):
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return super().call_module(m, forward, args, kwargs)
        if type(m) in TRANSFORMERS:
            forward = functools.partial(TRANSFORMERS[type(m)], m)
        n_before = len(self.graph.nodes)
        result = super().call_module(m, forward, args, kwargs)
        n_new = len(self.graph.nodes) - n_before
        made = tuple(itertools.islice(reversed(self.graph.nodes), n_new))[::-1]
        inputs = (*args, *kwargs.values())
        self.calls.append(Call(path, _nodes_of(inputs), _nodes_of(result), made))
        return result


def is_filter(tensor: object) -> bool:
    """Say whether a tensor has the axes of a filter for each channel, or of one for all."""
    is_kernel = isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.dim() >= 3
    return is_kernel and tensor.shape[1] == 1  # type: ignore[attr-defined]


def _name_tensors(example: ModelCall, forward: Callable[..., Any]) -> Iterator[str]:
    """Name the tensors of a call as the model's arguments are, as far as they are there."""
    known = list(inspect.signature(forward).parameters)[1 : len(example.args) + 1]  # without self
    by_position = [*known, *(f"input_{i}" for i in range(len(known), len(example.args)))]
    named = [*zip(by_position, example.args, strict=True), *example.kwargs.items()]
    for name, value in named:
        parts = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        yield from [name] if len(parts) == 1 else [f"{name}_{i}" for i in range(len(parts))]


def run_tracer(tracer: Tracer, model: nn.Module) -> fx.Graph:
    """Trace a model whose integer attributes remember where they stand."""
    # Functions of PyTorch are replaced for the time of a trace, by one thread at a time.
    whole = recording_whole_calls(model, tracer.require_sizes if tracer.answers else None)
    with _TRACING, tracking(model), with_len(tracer.measure), without_checks(), whole:
        graph = tracer.trace(model)
        tracer.held = _find_held(model)
        return graph


def _find_held(model: nn.Module) -> frozenset[fx.Node]:
    """Return what the code of a model that was just traced has put into attributes of modules."""
    held = (vars(module) for module in model.modules())
    return frozenset(
        leaf.node for leaf in pytree.tree_leaves(list(held)) if isinstance(leaf, fx.Proxy)
    )


def _nodes_of(value: Any) -> Any:
    return pytree.tree_map(lambda x: x.node if isinstance(x, fx.Proxy) else x, value)


def full_name(thing: object) -> str:
    """Return the module and the name of a class or function."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def name_of(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """Return an argument of a call, given by position or by name."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)
