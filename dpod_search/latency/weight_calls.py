"""Layers that are calls of functions with weights of any kind, as a latency table knows them.

A standardised convolution, weight normalisation, a blur with a fixed filter: what is cut out calls
``conv2d`` or its like with a weight that no layer's plan covers. The calls of the full net, which
tell strides and sizes, come in the order of the operations of the graph, which tell the channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.overrides import TorchFunctionMode

from dpod_search.supernet import Layout
from dpod_search.supernet import Operation
from dpod_search.supernet import fixed
from dpod_search.supernet import full_size
from dpod_search.supernet.layers.kind import Geometry


_PLAIN = ("input", "weight", "bias", "stride", "padding")
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "linear": _PLAIN[:3],
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (*_PLAIN, "dilation", "groups")),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        (*_PLAIN, "output_padding", "groups", "dilation"),
    ),
}


@dataclass(frozen=True)
class _Call:
    name: str
    given: Mapping[str, Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class WeightCall:
    """A call in its place in a supernet.

    Args:
        place: Position of its operation.
        weight: Position of the one whose result its weight is.
        geometry: What it is but for its widths.
        inputs: Layout of dimension 1 of its weight, outputs first.
        output: Layout of its output channels.
    """

    place: int
    weight: int
    geometry: Geometry
    inputs: Layout
    output: Layout


class CallRecorder(TorchFunctionMode):
    """Notes the calls of functions that multiply by a weight, but for those inside layers.

    Args:
        layers: What has a plan, and is noted as a layer.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        """Watch the layers until the block ends."""
        super().__init__()
        self.calls: list[_Call] = []
        self._depth = 0
        self._layers = layers
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> CallRecorder:
        """Begin."""

        def step(by: int) -> Callable[..., None]:
            def hook(*_: object) -> None:
                self._depth += by

            return hook

        for layer in self._layers:
            self._hooks.enter_context(layer.register_forward_pre_hook(step(1), prepend=True))
            self._hooks.enter_context(layer.register_forward_hook(step(-1), always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]  # PyTorch's
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # PyTorch's
        self._hooks.close()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function, and note it."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _ARGUMENTS and not self._depth and isinstance(result, Tensor):
            given = dict(zip(_ARGUMENTS[name], args, strict=False)) | (kwargs or {})
            self.calls.append(_Call(name, given, tuple(result.shape)))
        return result


def list_weight_calls(
    operations: Sequence[Operation], planned: frozenset[str], recorder: CallRecorder
) -> tuple[WeightCall, ...]:
    """Match what was called with the operations of the graph.

    Args:
        operations: Of the model.
        planned: Paths of the layers with plans.
        recorder: After the full net ran once on one sample.

    Returns:
        The calls that can be rebuilt; none at all where what ran is not what was traced.
    """
    found = [
        (place, operation)
        for place, operation in enumerate(operations)
        if operation.kind == "function" and operation.what in _ARGUMENTS and operation.axes
    ]
    found = [(p, o) for p, o in found if not _is_planned(operations, o, planned)]
    calls = recorder.calls
    is_same = len(calls) == len(found) and all(
        call.name == operation.what and call.shape[1:] == tuple(map(full_size, operation.axes[1:]))
        for call, (_, operation) in zip(calls, found, strict=True)
    )
    if not is_same:
        return ()
    return tuple(
        matched
        for call, (place, _) in zip(calls, found, strict=True)
        if (matched := _match(operations, place, call)) is not None
    )


def _is_planned(
    operations: Sequence[Operation], operation: Operation, planned: frozenset[str]
) -> bool:
    sources = [operations[place] for place in operation.inputs]
    return any(s.kind == "parameter" and s.what.rpartition(".")[0] in planned for s in sources)


def _match(operations: Sequence[Operation], place: int, call: _Call) -> WeightCall | None:
    tensors = [source for source in operations[place].inputs if operations[source].axes]
    if len(tensors) < 2 or not _sees_input(operations, tensors[0]):
        return None
    source, weight = tensors[:2]
    geometry = _read_call(call)
    if geometry is None:
        return None
    axis = -1 if geometry.kind == "linear" else 1
    inputs = operations[source].axes[axis]
    if geometry.conv_group:
        inputs = fixed(geometry.conv_group[0])
    return WeightCall(place, weight, geometry, inputs, operations[place].axes[axis])


def _sees_input(operations: Sequence[Operation], place: int) -> bool:
    pending, seen = [place], {place}
    while pending:
        operation = operations[pending.pop()]
        if operation.kind == "input":
            return True
        new = set(operation.inputs) - seen
        seen |= new
        pending += new
    return False


def _read_call(call: _Call) -> Geometry | None:
    given = call.given
    x, weight, has_bias = given["input"], given["weight"], given.get("bias") is not None
    if call.name == "linear":
        return Geometry("linear", tuple(x.shape[1:-1]), has_bias=has_bias)
    n_axes = weight.dim() - 2
    if x.dim() != weight.dim() or isinstance(given.get("padding"), str):
        return None
    is_transposed = call.name.startswith("conv_transpose")
    n_groups = int(given.get("groups", 1))
    group = (x.shape[1] // n_groups, call.shape[1] // n_groups)
    return Geometry(
        kind="transposed" if is_transposed else "conv",
        size=tuple(x.shape[2:]),
        kernel=tuple(weight.shape[2:]),
        stride=_spread(given.get("stride", 1), n_axes),
        padding=_spread(given.get("padding", 0), n_axes),
        dilation=_spread(given.get("dilation", 1), n_axes),
        output_padding=_spread(given.get("output_padding", 0), n_axes) if is_transposed else (),
        conv_group=group if n_groups > 1 else (),
        has_bias=has_bias,
    )


def _spread(value: Any, n_axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return tuple(map(int, values * n_axes if len(values) == 1 else values))


def record_calls(net: nn.Module, layers: Sequence[nn.Module], images: Tensor) -> CallRecorder:
    """Run a net once, and note what it calls."""
    with torch.no_grad(), CallRecorder(layers) as recorder:
        net(images)
    return recorder
