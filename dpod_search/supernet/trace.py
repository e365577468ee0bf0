"""Tracing: from the user's model to a graph of operations with shapes and source lines."""

from __future__ import annotations

import copy
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn.parameter import is_lazy

from dpod_search.errors import GroupingError
from dpod_search.placement import Placement
from dpod_search.placement import place_module


Shape = tuple[int, ...]

_TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"  # and not torchvision's beside it
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@dataclass(frozen=True)
class TracedModel:
    """A model's graph.

    Args:
        model: A copy of the user's model in evaluation mode, which the graph refers to.
        batch_size: Samples in the example input.
        graph: Its operations.
        shapes: Shape of every tensor in the graph, by node, for the example input.
        lines: ``file:line`` of the user's code that made each node, where it is known.
        runs_channels_last: It runs on channels-last tensors.
    """

    model: nn.Module
    batch_size: int
    graph: fx.Graph
    shapes: dict[fx.Node, Shape]
    lines: dict[fx.Node, str]
    runs_channels_last: bool

    def where(self, node: fx.Node) -> str:
        """Describe a node for a message: what it does, and the user's line."""
        target = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        line = self.lines.get(node)
        return f"{target} ({line})" if line else str(target)


def trace_model(model: nn.Module, example_input: Tensor) -> TracedModel:
    """Trace a copy of a model and the shapes of all its tensors.

    Args:
        model: Any module that takes one tensor; it is not changed.
        example_input: Shape (N, C, ...), N >= 1, on the model's device.

    Returns:
        The graph with shapes and lines.

    Raises:
        GroupingError: If the model does not run on the example, or ``torch.fx`` cannot trace
            it, for instance because its control flow depends on data. Names the user's line.
    """
    model = _copy(model).eval()
    _try_once(model, example_input)
    tracer = _Tracer()
    tracer.record_stack_traces = True
    try:
        graph = tracer.trace(model)
    except Exception as error:
        raise GroupingError(
            f"the model cannot be traced{_at(_user_line(error))}: {_first_line(error)}; "
            "replace control flow that depends on data, or mark that part with torch.fx.wrap"
        ) from error
    recorder = _ShapeRecorder(fx.GraphModule(model, graph))
    with torch.no_grad(), _one_line_errors():
        recorder.run(example_input)
    lines = {node: line for node in graph.nodes if (line := _node_line(node))}
    return TracedModel(
        model=model,
        batch_size=len(example_input),
        graph=graph,
        shapes=recorder.shapes,
        lines=lines,
        runs_channels_last=_runs_channels_last(model, example_input),
    )


def _copy(model: nn.Module) -> nn.Module:
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise GroupingError(
            "the model has lazy layers without weights; run it once on an input before this"
        )
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise GroupingError(
            f"the model cannot be copied: {_first_line(error)}; "
            "take out what copy.deepcopy refuses, weight_norm or a lock for instance"
        ) from error


def _try_once(model: nn.Module, example_input: Tensor) -> None:
    shape = tuple(example_input.shape)
    try:
        with torch.no_grad():
            result = model(example_input)
    except Exception as error:
        raise GroupingError(
            f"the model does not run on an example input of shape {shape}: "
            f"{_first_line(error)}{_at(_user_line(error))}; give an input it accepts"
        ) from error
    if not isinstance(result, Tensor):
        raise GroupingError(
            f"the model must return one tensor, got a {type(result).__name__}; wrap it in a "
            "module that returns the scores alone"
        )


def _runs_channels_last(model: nn.Module, example_input: Tensor) -> bool:
    """Say whether a model runs on channels-last tensors, as one with ``view`` often does not."""
    placed = place_module(copy.deepcopy(model), example_input.device)
    try:
        with torch.no_grad():
            placed(Placement(example_input.device, is_channels_last=True).put(example_input))
    except RuntimeError:
        return False
    return True


class _Tracer(fx.Tracer):
    """Leaves whole what the handler table knows by name."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return full_name(type(m)) in LEAVES or super().is_leaf_module(m, module_qualified_name)


def full_name(thing: object) -> str:
    """Return the module and the name of a class or function."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


# Modules outside torch.nn that are traced as one operation.
LEAVES = frozenset({"torchvision.models.convnext.LayerNorm2d"})


class _ShapeRecorder(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


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
    own = [f for f in frames if not _is_internal(f.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _node_line(node: fx.Node) -> str:
    frames = list(_FRAME.finditer(node.stack_trace or ""))
    own = [frame for frame in frames if not _is_internal(frame["file"])]
    return f"{own[-1]['file']}:{own[-1]['line']}" if own else ""


def _is_internal(filename: str) -> bool:
    return (
        filename.startswith((_TORCH_FOLDER, "<"))
        or filename == __file__
        or filename.endswith(("torch/fx/_symbolic_trace.py",))
    )
