"""Weights that are computed in every pass, as a clock sees them: which operations make them.

A request holds no code, so what a model computes its weight by is told by name: of each operation
that copies or combines numbers, and whether its result is as large as the weight or has an element
for each output. A layer is rebuilt with the same operations on tensors of the same sizes. Their
numbers are others, which a clock does not see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from dpod_search.supernet import Operation
from dpod_search.supernet import full_size


# As PyTorch's own parametrizations call their steps, each as a module.
PARAMETRIZED = "parametrized"
_OF_ROWS = "rows "
# What is told of these by other names.
_ALIASES = {"truediv": "div", "divide": "div", "multiply": "mul", "subtract": "sub"}
_VIEWS = frozenset({"getitem", "unbind", "expand", "expand_as"})

_Step = Callable[[Tensor, Tensor], Tensor]  # of the tensor that is changed and of the rows


def _reduce(function: Callable[..., Tensor]) -> _Step:
    def reduce(weight: Tensor, _rows: Tensor) -> Tensor:
        return function(weight, dim=tuple(range(1, weight.dim())), keepdim=True)

    return reduce


def _reduce_twice(function: Callable[..., Sequence[Tensor]]) -> _Step:
    def reduce(weight: Tensor, _rows: Tensor) -> Tensor:
        return function(weight, dim=tuple(range(1, weight.dim())), keepdim=True)[0]

    return reduce


def _standardise(weight: Tensor, rows: Tensor) -> Tensor:
    flat = weight.reshape(1, len(weight), -1)
    scale = rows.reshape(-1)
    made = functional.batch_norm(flat, None, None, weight=scale, training=True, momentum=0.0)
    return made.reshape(weight.shape)


_REDUCING: Mapping[str, _Step] = {
    "mean": _reduce(torch.mean),
    "sum": _reduce(torch.sum),
    "var": _reduce(torch.var),
    "std": _reduce(torch.std),
    "norm": _reduce(torch.linalg.vector_norm),
    "vector_norm": _reduce(torch.linalg.vector_norm),
    "linalg_vector_norm": _reduce(torch.linalg.vector_norm),
    "var_mean": _reduce_twice(torch.var_mean),
    "std_mean": _reduce_twice(torch.std_mean),
}
_KEEPING: Mapping[str, _Step] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": lambda x, _rows: x.pow(2.0),
    **{
        function.__name__: lambda x, _rows, function=function: function(x)  # type: ignore[misc]  # bound early
        for function in (
            torch.sqrt,
            torch.rsqrt,
            torch.square,
            torch.abs,
            torch.neg,
            torch.exp,
            torch.tanh,
            torch.sigmoid,
            torch.reciprocal,
            torch.clone,
        )
    },
}
_WHOLE: Mapping[str, _Step] = {
    "_weight_norm": lambda weight, rows: torch._weight_norm(weight, rows, 0),
    "batch_norm": _standardise,
    "repeat": lambda weight, _rows: weight.clone(),
    "contiguous": lambda weight, _rows: weight.clone(),
}
STEPS = frozenset(
    {PARAMETRIZED, *_REDUCING, *_KEEPING, *_WHOLE, *(_OF_ROWS + name for name in _KEEPING)}
)


def list_steps(operations: Sequence[Operation], weight: int) -> tuple[str, ...] | None:
    """Return the operations that a weight is made by, in their order.

    Args:
        operations: Of the model.
        weight: Position of the one whose result the weight is.

    Returns:
        Empty if it is made by none, but is a parameter; None if one of them is not known here, or
        the weight depends on the model's input.
    """
    pending, before = [weight], set[int]()
    while pending:
        place = pending.pop()
        if place not in before:
            before.add(place)
            # Sizes of other tensors make no weight.
            pending += [source for source in operations[place].inputs if operations[source].axes]
    size = _count(operations[weight])
    steps, is_parametrized = [], False
    for place in sorted(before):
        operation = operations[place]
        is_parametrized |= ".parametrizations." in operation.what
        if operation.kind in ("input", "module"):
            return None
        if operation.kind == "parameter":
            continue
        name = operation.what.rstrip("_")
        if operation.reuses is None and name not in _VIEWS:
            steps.append(_name_step(_ALIASES.get(name, name), _count(operation), size))
    if any(step not in STEPS for step in steps):
        return None
    return (PARAMETRIZED, *steps) if is_parametrized else tuple(steps)


def _count(operation: Operation) -> int:
    return math.prod(map(full_size, operation.axes))


def _name_step(name: str, size: int, weight_size: int) -> str:
    is_smaller = size < weight_size and name not in _REDUCING
    return (_OF_ROWS if is_smaller else "") + name


class _Computing(nn.Module):
    """Computes a weight by steps."""

    def __init__(self, steps: Sequence[str], n_rows: int, n_axes: int) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.rows = nn.Parameter(torch.ones(n_rows, *[1] * (n_axes - 1)))

    def forward(self, weight: Tensor) -> Tensor:
        rows: Tensor = self.rows
        for step in self.steps:
            if step.startswith(_OF_ROWS):
                rows = _KEEPING[step.removeprefix(_OF_ROWS)](rows, self.rows)
            elif step in _REDUCING:
                rows = _REDUCING[step](weight, rows)
            else:
                weight = (_KEEPING.get(step) or _WHOLE[step])(weight, rows)
        return weight


def compute_weight(layer: nn.Module, steps: Sequence[str]) -> nn.Module:
    """Let a plain layer compute its weight by steps of :func:`list_steps`; returns it."""
    if not steps:
        return layer
    weight = layer.get_parameter("weight")
    computing = _Computing([s for s in steps if s != PARAMETRIZED], len(weight), weight.dim())
    if steps[0] == PARAMETRIZED:
        parametrize.register_parametrization(layer, "weight", computing)
        return layer
    del layer._parameters["weight"]
    layer.register_parameter("given", weight)
    layer.add_module("computing", computing)
    with torch.no_grad():  # a tensor with a history cannot be copied
        _compute(layer, ())
    layer.register_forward_pre_hook(_compute)
    return layer


def _compute(layer: Any, _inputs: tuple[Tensor, ...]) -> None:
    layer.weight = layer.get_submodule("computing")(layer.get_parameter("given"))
