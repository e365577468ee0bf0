"""Finding the handler of an operation: the user's own first, then the table's."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.own_code import describe_error
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.elastic import kind_run_as
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.table import FUNCTION_HANDLERS
from dpod_search.supernet.table import METHOD_HANDLERS
from dpod_search.supernet.table import MODULE_HANDLERS
from dpod_search.supernet.table import NAMED_HANDLERS
from dpod_search.supernet.table import NAMED_MODULES
from dpod_search.supernet.tracing.computed import computes_weight
from dpod_search.supernet.tracing.tracer import full_name


OwnHandlers = Mapping[type[nn.Module] | Callable[..., Any] | str, Handler]


class Handlers:
    """The table of handlers, with a user's own entries before it.

    Args:
        own: By type of module, by function, or by name of a method of tensors.

    Raises:
        ConfigError: If an entry is for something else, or is no function.
    """

    def __init__(self, own: OwnHandlers | None = None) -> None:
        """Check the user's own entries, and join both."""
        for key, handler in (own or {}).items():
            _check_entry(key, handler)
        self._own: dict[Any, Handler] = {
            key: functools.partial(_run_own, handler) for key, handler in (own or {}).items()
        }

    def is_leaf(self, module: nn.Module) -> bool:
        """Say whether a module has a handler for what it is, so that tracing leaves it whole."""
        if type(module) in self._own or full_name(type(module)) in NAMED_MODULES:
            return True
        return kind_run_as(module) is not None and not computes_weight(module)

    @property
    def leaf_functions(self) -> tuple[Callable[..., Any], ...]:
        """The user's own functions; tracing does not look into them."""
        return tuple(key for key in self._own if isinstance(key, types.FunctionType))

    def find(self, node: fx.Node, modules: Mapping[str, nn.Module]) -> Handler | None:
        """Return the handler of a node, None if it has none.

        Args:
            node: A call of a module, function or method.
            modules: The model's modules by path.
        """
        if node.op == "call_module":
            module = modules[str(node.target)]
            if type(module) in self._own:
                return self._own[type(module)]
            kind = kind_run_as(module)
            if kind is not None:
                return kind.handler
            named = NAMED_MODULES.get(full_name(type(module)))
            return MODULE_HANDLERS.get(type(module)) or named
        if node.op == "call_method":
            name = str(node.target)
            return self._own.get(name) or METHOD_HANDLERS.get(name)
        assert not isinstance(node.target, str)
        return (
            self._own.get(node.target)
            or FUNCTION_HANDLERS.get(node.target)
            or NAMED_HANDLERS.get(full_name(node.target))
        )


def _check_entry(key: object, handler: object) -> None:
    if isinstance(key, str):
        if not callable(getattr(Tensor, key, None)):
            raise ConfigError(
                f"handlers: a tensor has no method {key!r}; an entry is for a type of module, "
                "a function, or the name of a method"
            )
    elif isinstance(key, nn.Module) or not callable(key):
        raise ConfigError(
            "handlers: an entry is for a type of module, a function, or the name of a method, "
            f"got a {type(key).__name__}"
        )
    if not callable(handler):
        name = key if isinstance(key, str) else getattr(key, "__name__", str(key))
        raise ConfigError(
            f"handlers: the entry of {name} must be a handler such as carry, "
            f"got a {type(handler).__name__}"
        )


def _check_axes(axes: object, where: str) -> None:
    if not isinstance(axes, dict) or not all(
        isinstance(axis, int)
        and isinstance(layout, tuple)
        and all(isinstance(segment, Segment) for segment in layout)
        for axis, layout in axes.items()
    ):
        raise GroupingError(f"the handler of {where} must return layouts by axis, got {axes!r}")


def _run_own(handler: Handler, discovery: Discovery, node: fx.Node) -> Axes:
    """Run a handler of the user's, and do not trust what it returns."""
    where = discovery.where(node)
    try:
        axes = handler(discovery, node)
    except GroupingError:
        raise
    except Exception as error:
        raise GroupingError(
            f"the handler of {where} failed with {describe_error(error)}"
        ) from error
    if node not in discovery.shapes:
        if node in discovery.parts:
            return {}
        return freeze_inputs(discovery, node, "returns several tensors")
    shape = discovery.shapes[node]
    _check_axes(axes, where)
    for axis, layout in axes.items():
        if not 0 <= axis < len(shape) or full_size(layout) != shape[axis]:
            said = f"that axis {axis} has {full_size(layout)} elements"
            raise GroupingError(
                f"the handler of {where} says {said}, but its result has shape {shape}"
            )
    return axes
