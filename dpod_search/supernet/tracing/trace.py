"""Tracing: from the user's model to a graph of operations with shapes and source lines."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch import nn
from torch.nn.parameter import UninitializedBuffer
from torch.nn.parameter import is_lazy

from dpod_search.errors import GroupingError
from dpod_search.inputs import ModelCall
from dpod_search.inputs import check_values
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.lines import is_internal
from dpod_search.supernet.tracing.recording import Recorder
from dpod_search.supernet.tracing.recording import Shape
from dpod_search.supernet.tracing.recording import copy_held
from dpod_search.supernet.tracing.recording import tensors_of
from dpod_search.supernet.tracing.tracer import Buffers
from dpod_search.supernet.tracing.tracer import Call
from dpod_search.supernet.tracing.tracer import Tracer
from dpod_search.supernet.tracing.tracer import run_tracer


_BUFFERS: tuple[Buffers, ...] = ("filters", "all", "none")


@dataclass(frozen=True)
class TracedModel:
    """A model's graph.

    Args:
        model: A copy of the user's model in evaluation mode, which the graph refers to.
        batch_size: Samples in the example input.
        graph: Its operations.
        calls: Calls of the user's own modules, inner ones before the ones around them.
        shapes: Shape of every tensor in the graph, by node, for the example input.
        itemsizes: Bytes of one element of every tensor in the graph.
        truths: Nodes that make tensors of truth values.
        parts: Shapes of the tensors of every node that makes several.
        reuses: For a node whose result lies in the memory of another's, that one.
        scratch_bytes: Bytes that a node holds at its peak besides its inputs, its result among
            them where that exists by then, if these are more than its result.
        lines: ``file:line`` of the user's code that made each node, where it is known.
        output_shapes: Shapes of the tensors that it returns.
        deciding: What was computed from sizes and decided which way the code went.
        held: What the model's code keeps in attributes of its modules.
    """

    model: nn.Module
    batch_size: int
    graph: fx.Graph
    calls: tuple[Call, ...]
    shapes: dict[fx.Node, Shape]
    itemsizes: dict[fx.Node, int]
    truths: frozenset[fx.Node]
    parts: dict[fx.Node, tuple[Shape, ...]]
    reuses: dict[fx.Node, fx.Node]
    scratch_bytes: dict[fx.Node, int]
    lines: dict[fx.Node, str]
    output_shapes: tuple[Shape, ...]
    deciding: tuple[fx.Node, ...]
    held: frozenset[fx.Node]

    def where(self, node: fx.Node) -> str:
        """Describe a node for a message: what it does, and the user's line."""
        target = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        line = self.lines.get(node)
        return f"{target} ({line})" if line else str(target)


def trace_model(
    model: nn.Module,
    example: ModelCall,
    *,
    is_leaf: Callable[[nn.Module], bool] = lambda _: False,
    leaf_functions: Sequence[Callable[..., Any]] = (),
) -> TracedModel:
    """Trace a copy of a model and the shapes of all its tensors.

    Args:
        model: Any module that takes tensors; it is not changed.
        example: What it is called with, on the model's device.
        is_leaf: Says of a module whether it is one operation, whatever its code does; those of
            ``torch.nn`` are in any case.
        leaf_functions: Functions that are one operation each; in the files of the model's
            modules they are found by their names.

    Returns:
        The graph with shapes and lines.

    Raises:
        GroupingError: If the model does not run on the example, or ``torch.fx`` cannot trace
            it, for instance because its control flow depends on data. Names the user's line.
    """
    model = _copy(model).eval()
    try:
        graph, tracer = _trace_graph(model, example, is_leaf, leaf_functions)
        recorder = Recorder(model, graph)
        with torch.no_grad(), _one_line_errors():
            inputs = map(torch.clone, example.tensors)
            outputs = tensors_of(recorder.run_on(tracer.take_record(), inputs))
    except GroupingError:
        _run_once(model, example)  # what the model itself says of the example comes first
        raise
    if not outputs:
        _run_once(model, example)
        raise GroupingError("the model must return tensors, and its trace returns none")
    return TracedModel(
        model=model,
        batch_size=example.n_samples,
        graph=graph,
        calls=tuple(tracer.calls),
        shapes=recorder.shapes,
        itemsizes=recorder.itemsizes,
        truths=frozenset(recorder.truths),
        parts=recorder.parts,
        reuses=recorder.reuses,
        scratch_bytes=recorder.scratch_bytes,
        lines=tracer.lines,
        output_shapes=tuple(tuple(tensor.shape) for tensor in outputs),
        deciding=tuple(tracer.deciding),
        held=tracer.held,
    )


def fill_lazy(model: nn.Module, example: ModelCall) -> nn.Module:
    """Run a copy of a model with lazy layers once on the example, which gives them weights.

    Args:
        model: Any module; it is not changed.
        example: What it is called with.

    Returns:
        The copy, in the model's mode, its new weights drawn as PyTorch's next ones are, whose
        generator is left as it was; the model itself if it has no lazy layers.

    Raises:
        GroupingError: If it does not run.
    """
    _check_module(model)
    lazy = [tensor for tensor in model.buffers() if is_lazy(tensor)]
    if not lazy and not any(map(is_lazy, model.parameters())):
        return model
    make: Any = UninitializedBuffer  # whose stub lacks its arguments
    empty = {id(b): make(device=b.device, dtype=b.dtype) for b in lazy}
    copied = copy_module(model, {**copy_held(model), **empty})
    modes = {module: module.training for module in copied.modules()}
    devices = {tensor.device for tensor in example.tensors if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
        _run_once(copied.eval(), example)
    for module, training in modes.items():
        module.training = training
    return copied


def _trace_graph(
    model: nn.Module,
    example: ModelCall,
    is_leaf: Callable[[nn.Module], bool],
    leaf_functions: Sequence[Callable[..., Any]],
) -> tuple[fx.Graph, Tracer]:
    first: Exception | None = None
    # A mask in a buffer may be cut by sizes of the trace, and a number may stand in one: which
    # buffers are parts of the trace is tried.
    for buffers in _BUFFERS:
        tracer = Tracer(is_leaf, leaf_functions, example, buffers=buffers)
        try:
            return run_tracer(tracer, model), tracer
        except Exception as error:  # noqa: BLE001  # raised again unless another way works
            first = first or error
    assert first is not None
    raise GroupingError(
        f"the model cannot be traced{_at(_user_line(first))}: {_first_line(first)}; "
        "replace control flow that depends on data, or mark that part with torch.fx.wrap, "
        "or give its module a handler (docs/handlers.md)"
    ) from first


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        got = model.__name__ if isinstance(model, type) else f"a {type(model).__name__}"
        raise GroupingError(f"the model must be an instance of torch.nn.Module, got {got}")


def _copy(model: nn.Module) -> nn.Module:
    _check_module(model)
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise GroupingError(
            "the model has lazy layers without weights, which the example does not run; take them "
            "out, or run them once before this"
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        check_values(tensor, name)
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters()):
            raise GroupingError(
                f"{path or 'the model'} is compiled by TorchScript, whose weights cannot be "
                "shared; give the plain module"
            )
        if type(module).__module__ == "torch._dynamo.eval_frame":
            # Its compiler would look at PyTorch's functions as they are while a trace is made.
            raise GroupingError(
                f"{path or 'the model'} is compiled by torch.compile, which is not looked into; "
                "give the plain module, and compile what is cut out of the supernet"
            )
    # Weights are only read; buffers may move when a model runs.
    memo = {**copy_held(model), **{id(parameter): parameter for parameter in model.parameters()}}
    try:
        return copy_module(model, memo)
    except Exception as error:
        raise GroupingError(
            f"the model cannot be copied: {_first_line(error)}; "
            "take out what copy.deepcopy refuses, weight_norm or a lock for instance"
        ) from error


def _run_once(model: nn.Module, example: ModelCall) -> None:
    """Raise what is wrong with the example input, or with what the model returns."""
    try:
        with torch.no_grad():
            result = example.map(torch.clone).run(model)
    except Exception as error:
        raise GroupingError(
            f"the model does not run on an example input of shape {example}: "
            f"{_first_line(error)}{_at(_user_line(error))}; give an input it accepts"
        ) from error
    if not tensors_of(result):
        raise GroupingError(f"the model must return tensors, got a {type(result).__name__}")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise GroupingError(
            f"the traced model does not run on the example input: {_first_line(error)}; "
            "a branch of the model probably depends on training mode or on its input"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _at(line: str) -> str:
    return f" (at {line})" if line else ""


def _user_line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not is_internal(f.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
