"""Elastic twins that stay of the user's own class: subclasses of PyTorch's layers.

A subclass that computes as its base gets the base's elastic layer in front of its own methods.
One with a forward of its own runs that forward, and finds the active part of its tensors there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from typing import ClassVar

import torch
from torch import Tensor
from torch import nn

from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layout import put
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.tracing.copying import copy_attribute
from dpod_search.supernet.tracing.copying import reduces_to_state


# In the order in which the elastic layers give the active ones.
_TENSORS = ("weight", "bias", "running_mean", "running_var")


# What an extracted layer has of its own.
_OF_SIZES = frozenset(
    {"plan", "state", "_parameters", "_buffers", "_flat_weights", "_flat_weight_refs"}
)


class KeepsClass(nn.Module):
    """An elastic layer whose extracted twin is of the user's own class."""

    plan: LayerPlan
    state: WidthState
    elastic_type: ClassVar[Any]
    own_type: ClassVar[Any]
    runs_own_forward: ClassVar[bool]

    @reduces_to_state
    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Pickle and copy by the types that it is made of: its own class has no name."""
        types = (self.elastic_type, self.own_type, self.runs_own_forward)
        return _make_empty, types, self.__dict__

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the elastic layer, or the user's forward on the active tensors."""
        if not self.runs_own_forward:
            return self.elastic_type.forward(self, *inputs, **options)
        with self._narrowed():
            return self.own_type.forward(self, *inputs, **options)

    def extract(self) -> nn.Module:
        """Return a layer of the user's class and the active size; :meth:`fill_own` completes it."""
        own: nn.Module = self.own_type.__new__(self.own_type)
        nn.Module.__init__(own)
        own.__dict__.update(vars(self.elastic_type.extract(self)))
        return own

    def fill_own(self, own: nn.Module, memo: dict[int, Any]) -> None:
        """Give an extracted layer what PyTorch's layer has not: attributes, modules, hooks.

        Args:
            own: What :meth:`extract` returned.
            memo: Of ``copy.deepcopy``, with all that is extracted.
        """
        for name, value in vars(self).items():
            is_narrow = name in vars(own) and not name.startswith("_")
            if not is_narrow and name not in _OF_SIZES:
                own.__dict__[name] = copy_attribute(name, value, memo)

    @contextmanager
    def _narrowed(self) -> Iterator[None]:
        """Be as narrow as the active widths inside the block; buffers may change there."""
        parts = dict(zip(_TENSORS, self.elastic_type._active(self), strict=False))
        sizes = self.elastic_type._sizes(self, parts)
        kept = {"_parameters", "_buffers", *sizes}.intersection(vars(self))
        held = {name: vars(self)[name] for name in kept}
        for table in ("_parameters", "_buffers"):
            self.__dict__[table] = {
                name: parts.get(name, whole) for name, whole in held[table].items()
            }
        self.__dict__.update(sizes)
        try:
            yield
        finally:
            changed = self._buffers
            self.__dict__.update(held)
            for name, part in changed.items():
                self._put_back(name, part, parts.get(name))

    def _put_back(self, name: str, part: Tensor | None, given: Tensor | None) -> None:
        whole = self._buffers.get(name)
        if whole is None or part is None or part is whole:
            return
        with torch.no_grad():
            if not whole.dim():
                whole.copy_(part)
            elif part is not given or len(self.plan.output) > 1:  # else it is a view of the whole
                put(whole, part, self.plan.output, self.state.widths)


@functools.cache
def own_elastic_type(elastic_type: Any, own_type: Any, runs_own_forward: bool) -> Any:
    """Return a type that runs as an elastic one and is the user's own otherwise.

    Args:
        elastic_type: The elastic twin of PyTorch's layer.
        own_type: A subclass of that layer.
        runs_own_forward: It has a forward of its own, which calls the layer's function.
    """
    members = {
        "elastic_type": elastic_type,
        "own_type": own_type,
        "runs_own_forward": runs_own_forward,
    }
    return type(f"Elastic{own_type.__name__}", (KeepsClass, elastic_type, own_type), members)


def _make_empty(elastic_type: Any, own_type: Any, runs_own_forward: bool) -> Any:
    kind = own_elastic_type(elastic_type, own_type, runs_own_forward)
    return kind.__new__(kind)
