"""What is one operation of the graph although PyTorch's own code would look into it.

Tensors that the model's code makes by sizes, such as the zeros that an LSTM starts from:
``torch.zeros(n_layers, x.size(0), self.hidden)`` is no constant, so that the attribute is known that
its size was read from. Convolutions, which would ask for the value of ``groups=x.shape[1]`` while
they look at their arguments, as if the way that the code goes depended on it. What packs
sequences, by values. And methods of constants, ``mask.expand(x.size(0), -1)``, which know no sizes
of the trace among those that stand one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn
from torch.utils import _pytree as pytree


# Functions that make a tensor of given sizes, all its elements alike or random.
CREATORS: tuple[Callable[..., Any], ...] = (
    torch.zeros,
    torch.ones,
    torch.empty,
    torch.full,
    torch.rand,
    torch.randn,
)
# And others that are given numbers.
_MAKERS: tuple[Callable[..., Any], ...] = (
    torch.arange,
    torch.as_tensor,
    torch.eye,
    torch.linspace,
    torch.logspace,
    torch.randint,
    torch.randperm,
    torch.tensor,
    torch.tril_indices,
    torch.triu_indices,
)
# Methods that are given sizes one by one, of tensors that may be constants.
_METHODS = ("expand", "new_empty", "new_ones", "new_zeros", "repeat", "reshape", "tile", "view")
CONVOLUTIONS: tuple[Callable[..., Any], ...] = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
# What these are given may come from values of tensors.
_UNCHECKED: tuple[Callable[..., Any], ...] = (
    rnn.pack_padded_sequence,
    rnn.pad_packed_sequence,
    *CONVOLUTIONS,
)


@contextmanager
def recording_whole_calls(
    model: nn.Module, check: Callable[[fx.Proxy], None] | None
) -> Iterator[None]:
    """Let functions that are given values of the trace be a part of it inside the block.

    Args:
        model: In the files of its modules they are found under any name.
        check: Raises if a value is no size; None where values of tensors may be given, too.
    """
    records = {
        id(function): _make_whole(function, None if function in _UNCHECKED else check)
        for function in (*CREATORS, *_MAKERS, *_UNCHECKED)
    }
    changed = [
        (scope, name, value)
        for scope in _list_scopes(model)
        for name, value in scope.items()
        if id(value) in records
    ]
    before = {name: vars(Tensor)[name] for name in vars(Tensor).keys() & _METHODS}
    try:
        for scope, name, value in changed:
            scope[name] = records[id(value)]
        for name in _METHODS:
            setattr(Tensor, name, _make_whole(getattr(Tensor, name), check, is_method=True))
        yield
    finally:
        for scope, name, value in changed:
            scope[name] = value
        for name in vars(Tensor).keys() & _METHODS:
            if name in before:
                setattr(Tensor, name, before[name])
            else:
                delattr(Tensor, name)  # its base class has it


def _list_scopes(model: nn.Module) -> list[dict[str, Any]]:
    """Return the names of PyTorch, and of the files in which forwards of the user's stand."""
    forwards = (getattr(type(module), "forward", None) for module in model.modules())
    scopes = [getattr(forward, "__globals__", {}) for forward in forwards]
    own = {id(s): s for s in scopes if not str(s.get("__name__")).startswith("torch.")}
    return [vars(torch), vars(functional), vars(rnn), *own.values()]


def _make_whole(
    function: Callable[..., Any],
    check: Callable[[fx.Proxy], None] | None,
    *,
    is_method: bool = False,
) -> Callable[..., Any]:
    kind, target = ("call_method", function.__name__) if is_method else ("call_function", function)

    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Any:
        given = pytree.tree_leaves((args, kwargs if check is None else kwargs.get("size")))
        proxies = [value for value in given if isinstance(value, fx.Proxy)]
        if not proxies:
            return function(*args, **kwargs)
        if check is not None:
            for proxy in proxies:
                check(proxy)
        return proxies[0].tracer.create_proxy(kind, target, args, kwargs)

    return record
