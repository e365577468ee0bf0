"""Tensors that the user's code makes while it is traced, as large as sizes of the trace say.

``torch.ones(n, length)`` takes numbers, and no values of a trace: PyTorch refuses them before a trace
is asked. Here it is asked first, and the tensor becomes a part of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree


_MAKERS = (
    "arange",
    "as_tensor",
    "empty",
    "eye",
    "full",
    "linspace",
    "logspace",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
)


@contextmanager
def tracing_makers(tracer: fx.Tracer) -> Iterator[None]:
    """Let the functions of PyTorch that make tensors take values of a trace inside the block.

    Args:
        tracer: Whose values they are.
    """
    plain = {name: getattr(torch, name) for name in _MAKERS}
    try:
        for name, make in plain.items():
            setattr(torch, name, _trace_first(make, tracer))
        yield
    finally:
        for name, make in plain.items():
            setattr(torch, name, make)


def _trace_first(make: Callable[..., Any], tracer: fx.Tracer) -> Callable[..., Any]:
    @functools.wraps(make)
    def make_traced(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(leaf, fx.Proxy) for leaf in pytree.tree_leaves((args, kwargs))):
            return tracer.create_proxy("call_function", make, args, kwargs)
        return make(*args, **kwargs)

    return make_traced
