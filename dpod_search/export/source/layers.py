"""PyTorch's own layers as the calls that make them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dpod_search.escaping import quote_python
from dpod_search.export.source.layout import Expression
from dpod_search.export.source.layout import call
from dpod_search.export.source.layout import prefix
from dpod_search.export.source.layout import tuple_of
from dpod_search.supernet.layers.elastic import layer_type


class CannotWriteError(Exception):
    """A module that cannot be written as code; the reason is its text."""


# Arguments that a layer keeps under no attribute, or under one of another kind.
_READERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("MultiheadAttention", "bias"): lambda layer: layer.in_proj_bias is not None,
    ("MultiheadAttention", "add_bias_kv"): lambda layer: layer.bias_k is not None,
    ("PReLU", "init"): lambda _layer: 0.25,
    ("Softplus", "beta"): lambda layer: layer.beta,
}
_IGNORED = frozenset({"device", "dtype", "_freeze", "_weight"})
# A pair of equal numbers is one number to these arguments.
_SIZES = frozenset({"kernel_size", "stride", "padding", "dilation", "output_padding"})


def write_layer(layer: nn.Module) -> Expression:
    """Return the call that makes a layer of PyTorch's, without its weights.

    Raises:
        CannotWriteError: If the layer is not one of ``torch.nn``, or does not keep what it was
            made with.
    """
    kind: Any = layer_type(layer)
    if kind is nn.modules.linear.NonDynamicallyQuantizableLinear:  # of an attention
        kind = nn.Linear
    name = kind.__name__
    if getattr(nn, name, None) is not kind:
        raise CannotWriteError(f"a layer of {kind.__module__}.{name} has no code of its own")
    items: list[Expression] = []
    is_positional = True
    parameters = _list_parameters(kind)
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        if kind is not nn.Identity and "__init__" in vars(kind):
            raise CannotWriteError(f"nn.{name} does not say what it was made with")
        parameters = []
    for parameter in parameters:
        if parameter.name in _IGNORED:
            continue
        value = _shorten(parameter.name, _read(layer, name, parameter.name))
        if parameter.default is not inspect.Parameter.empty:
            is_positional = False
            if _is_same(value, _shorten(parameter.name, parameter.default)):
                continue
        written = write_value(value)
        items.append(written if is_positional else prefix(f"{parameter.name}=", written))
    return call(f"nn.{name}", *_drop_stride(name, layer, items))


def _list_parameters(kind: Any) -> list[inspect.Parameter]:
    if not issubclass(kind, nn.RNNBase):
        return list(inspect.signature(kind).parameters.values())
    # These take whatever they are given, and hand it on behind the name of their cells.
    _, *parameters = inspect.signature(nn.RNNBase).parameters.values()
    if kind is nn.RNN:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter("nonlinearity", keyword, default="tanh"))
    return parameters


def _read(layer: nn.Module, kind: str, name: str) -> Any:
    if (kind, name) in _READERS:
        return _READERS[kind, name](layer)
    if not hasattr(layer, name):
        raise CannotWriteError(f"nn.{kind} does not keep its argument {name}")
    value = getattr(layer, name)
    if name == "bias" and (value is None or isinstance(value, torch.Tensor)):
        return value is not None
    return value


def _shorten(name: str, value: Any) -> Any:
    if name in _SIZES and isinstance(value, tuple) and value and len(set(value)) == 1:
        return value[0]
    return value


def _is_same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def _drop_stride(kind: str, layer: Any, items: list[Expression]) -> list[Expression]:
    # A pooling without a stride moves by its kernel.
    if "Pool" in kind and getattr(layer, "stride", None) == getattr(layer, "kernel_size", 0):
        return [item for item in items if not str(item).startswith("stride=")]
    return items


def write_value(value: Any) -> Expression:
    """Return a number, a word, or a tuple or list of them.

    Raises:
        CannotWriteError: If it is something else.
    """
    if isinstance(value, float) and not isinstance(value, bool) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or value is Ellipsis or isinstance(value, bool):
        return "..." if value is Ellipsis else repr(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str):
        return quote_python(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if isinstance(value, tuple | list):
        return tuple_of([write_value(item) for item in value])
    raise CannotWriteError(f"a value of type {type(value).__name__} cannot be written as code")
