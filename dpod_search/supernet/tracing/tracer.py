"""The tracer: which modules and functions are one operation, and which are looked into."""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor
from torch import fx
from torch import nn
from torch.utils import _pytree as pytree

from dpod_search.supernet.tracing.example import ExampleCall
from dpod_search.supernet.tracing.making import tracing_makers
from dpod_search.supernet.tracing.peeking import Peek
from dpod_search.supernet.tracing.peeking import without_checks
from dpod_search.supernet.tracing.peeking import without_len
from dpod_search.supernet.tracing.recording import leaves_of
from dpod_search.supernet.tracing.tracked import tracking


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

    def _read(self) -> Any:
        assert isinstance(self.tracer, Tracer)
        return self.tracer.read(self)


class Tracer(fx.Tracer):
    """Leaves PyTorch's modules and further ones whole, and notes the calls of the others.

    What the code decides by sizes it decides as on the example; ``deciding`` has the values that
    were asked for.

    Args:
        is_leaf: Says of a module whether it is one operation, whatever its code does.
        leaf_functions: Functions that are one operation each.
        example: What the model is called with; each of its tensors is an input of the graph.
        answers: Whether the code is told what sizes and settings of tensors are on the example; the
            graph is then one of such inputs.
    """

    def __init__(
        self,
        is_leaf: Callable[[nn.Module], bool],
        leaf_functions: Sequence[Callable[..., Any]],
        example: ExampleCall,
        *,
        answers: bool = True,
    ) -> None:
        """Start with no calls."""
        super().__init__(autowrap_functions=tuple(leaf_functions))
        self.calls: list[Call] = []
        self.deciding: list[fx.Node] = []
        self.answers = answers
        self._is_leaf = is_leaf
        self._example = example
        self._peek = Peek(example.tensors)

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
        if not self.answers or not self._is_of_sizes(obj.node):
            raise fx.proxy.TraceError("a branch or a number depends on the values of a tensor")
        self.deciding.append(obj.node)
        return self.evaluate(obj.node)

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
        return type(m) not in _ENCODERS and super().is_leaf_module(m, module_qualified_name)

    def _is_made_here(self, m: nn.Module) -> bool:
        """Say whether a module without tensors is none of the model's: made as it is called."""
        is_known = self.submodule_paths is None or m in self.submodule_paths
        return not is_known and not [*m.parameters(), *m.buffers()]

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Note the call of a module that is looked into."""
        if self._is_made_here(m):
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return super().call_module(m, forward, args, kwargs)
        if type(m) in _ENCODERS:
            _check_no_masks(args, kwargs)
            forward = functools.partial(_ENCODERS[type(m)], m)
            args, kwargs = (args or (kwargs["src"],))[:1], {}
        n_before = len(self.graph.nodes)
        result = super().call_module(m, forward, args, kwargs)
        n_new = len(self.graph.nodes) - n_before
        made = tuple(itertools.islice(reversed(self.graph.nodes), n_new))[::-1]
        inputs = (*args, *kwargs.values())
        self.calls.append(Call(path, _nodes_of(inputs), _nodes_of(result), made))
        return result


def _name_tensors(example: ExampleCall, forward: Callable[..., Any]) -> Iterator[str]:
    """Name the tensors of a call as the model's arguments are, as far as they are there."""
    known = list(inspect.signature(forward).parameters)[1 : len(example.args) + 1]  # without self
    by_position = [*known, *(f"input_{i}" for i in range(len(known), len(example.args)))]
    named = [*zip(by_position, example.args, strict=True), *example.kwargs.items()]
    for name, value in named:
        parts = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        yield from [name] if len(parts) == 1 else [f"{name}_{i}" for i in range(len(parts))]


def run_tracer(tracer: Tracer, model: nn.Module) -> fx.Graph:
    """Trace a model whose integer attributes remember where they stand."""
    tracer.record_stack_traces = True
    with tracking(model), without_len(), without_checks(), tracing_makers(tracer):
        return tracer.trace(model)


def _nodes_of(value: Any) -> Any:
    return pytree.tree_map(lambda x: x.node if isinstance(x, fx.Proxy) else x, value)


def _encode_layer(layer: nn.TransformerEncoderLayer, tokens: Any) -> Any:
    """Say what a transformer's layer computes, without the branches to its fused kernels."""

    def attend(x: Any) -> Any:
        return layer.dropout1(layer.self_attn(x, x, x, need_weights=False)[0])

    def think(x: Any) -> Any:
        hidden = layer.dropout(layer.activation(layer.linear1(x)))
        return layer.dropout2(layer.linear2(hidden))

    if layer.norm_first:
        tokens = tokens + attend(layer.norm1(tokens))
        return tokens + think(layer.norm2(tokens))
    tokens = layer.norm1(tokens + attend(tokens))
    return layer.norm2(tokens + think(tokens))


def _encode(encoder: nn.TransformerEncoder, tokens: Any) -> Any:
    for layer in encoder.layers:
        tokens = layer(tokens)
    return tokens if encoder.norm is None else encoder.norm(tokens)


# PyTorch's own modules that are looked into, and what they compute.
_ENCODERS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.TransformerEncoderLayer: _encode_layer,
    nn.TransformerEncoder: _encode,
}


def _check_no_masks(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = [*args[1:], *(value for name, value in kwargs.items() if name != "src")]
    if any(value is not None and value is not False for value in given):
        raise ValueError("masks of a transformer encoder are not supported")


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
