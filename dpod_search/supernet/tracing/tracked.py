"""Integers that remember which attribute of the user's model they were read from.

A model that says ``x.reshape(n, self.hidden_dim, -1)`` has a width in an attribute. While it is
traced, the attributes of its modules are :class:`TrackedInt`, so that the graph shows which
number came from where, and a subnet can be given the narrow one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch import nn

from dpod_search.supernet.tracing.computed import computes_weight


@dataclass(frozen=True)
class Attribute:
    """An attribute of a module.

    Args:
        module: Path of the module in the model.
        name: Name of the attribute.
        index: Which element of it, where it is a tuple.
    """

    module: str
    name: str
    index: int | None = None

    def __str__(self) -> str:
        """Return it as it stands in the user's code."""
        path = ".".join(filter(None, (self.module, self.name)))
        return path if self.index is None else f"{path}[{self.index}]"


@dataclass(frozen=True)
class Computed:
    """A number that the model's code computed from tracked ones.

    Args:
        operation: From :mod:`operator`.
        operands: Numbers, at least one of them tracked.
    """

    operation: Callable[..., Any]
    operands: tuple[int, ...]


class TrackedInt(int):
    """An integer with its origin; arithmetic with other integers keeps it."""

    origin: Attribute | Computed

    def __new__(cls, value: int, origin: Attribute | Computed) -> TrackedInt:
        """Attach an origin to a number."""
        made = super().__new__(cls, value)
        made.origin = origin
        return made

    def __add__(self, other: int) -> int:
        """Add."""
        return _compute(operator.add, self, other)

    def __radd__(self, other: int) -> int:
        """Add."""
        return _compute(operator.add, other, self)

    def __sub__(self, other: int) -> int:
        """Subtract."""
        return _compute(operator.sub, self, other)

    def __rsub__(self, other: int) -> int:
        """Subtract."""
        return _compute(operator.sub, other, self)

    def __mul__(self, other: int) -> int:
        """Multiply."""
        return _compute(operator.mul, self, other)

    def __rmul__(self, other: int) -> int:
        """Multiply."""
        return _compute(operator.mul, other, self)

    def __floordiv__(self, other: int) -> int:
        """Divide."""
        return _compute(operator.floordiv, self, other)

    def __rfloordiv__(self, other: int) -> int:
        """Divide."""
        return _compute(operator.floordiv, other, self)


def _compute(operation: Callable[..., Any], first: object, second: object) -> int:
    if not isinstance(first, int) or not isinstance(second, int):
        return NotImplemented  # type: ignore[no-any-return]  # a tensor's, or a float's turn
    value = operation(int(first), int(second))
    return TrackedInt(value, Computed(operation, (first, second)))


@contextmanager
def tracking(model: nn.Module) -> Iterator[None]:
    """Let the integer attributes of a model's own modules remember where they stand.

    Args:
        model: Its attributes are plain integers again after the block, and its buffers and
            tensors those from before it: a counter that counts becomes a part of the trace.
    """
    changed = [
        (module, Attribute(path, name), value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if _is_users(module, name) and _holds_integers(value)
    ]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    # A weight that a hook computes is an attribute, and a part of the trace by then.
    tensors = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    try:
        for module, attribute, value in changed:
            setattr(module, attribute.name, _track(value, attribute))
        yield
    finally:
        for module, held in buffers:
            module._buffers = held
        for module, name, value in tensors:
            vars(module)[name] = value
        for module, attribute, value in changed:
            setattr(module, attribute.name, value)


def _is_users(module: nn.Module, name: str) -> bool:
    """Say whether an attribute is one of the user's own, or of PyTorch's that users read."""
    if type(module) is nn.Transformer:  # it asks whether its inputs are as wide as it says
        return name == "d_model"
    if type(module).__module__.startswith("torch.nn.") and not computes_weight(module):
        return isinstance(module, nn.RNNBase | nn.RNNCellBase) and name == "hidden_size"
    return not name.startswith("_")


def _holds_integers(value: object) -> bool:
    if type(value) is tuple:
        return bool(value) and all(type(element) is int for element in value)
    return type(value) is int


def _track(value: Any, attribute: Attribute) -> Any:
    if isinstance(value, int):
        return TrackedInt(value, attribute)
    return tuple(TrackedInt(v, replace(attribute, index=i)) for i, v in enumerate(value))
