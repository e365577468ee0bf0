"""Running a traced graph once: shapes, which results share memory, and passing memory."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import fields
from dataclasses import is_dataclass
from typing import Any
from typing import cast

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from dpod_search.supernet.tracing.operations import place_of


Shape = tuple[int, ...]
_NUMBERS = frozenset({bool, int, float, str})


def tensors_of(result: object) -> list[Tensor]:
    """Return the tensors in what a model or an operation returned, in order."""
    return list(leaves_of(result, Tensor))


def leaves_of(result: object, kinds: Any) -> Iterator[Any]:
    """Yield the values of some kinds in tuples, dictionaries and dataclasses, in order."""
    if isinstance(result, kinds):
        yield result
        return
    # As pytree takes them apart, which is asked for each operation and takes ten times as long.
    kind = type(result)
    if kind is tuple or kind is list or kind is dict:
        for held in cast(Any, result).values() if kind is dict else cast(Any, result):
            yield from leaves_of(held, kinds)
        return
    if result is None or kind in _NUMBERS:
        return
    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, kinds):
            yield leaf
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            for field in fields(leaf):
                yield from leaves_of(getattr(leaf, field.name), kinds)


def copy_held(module: nn.Module) -> dict[int, object]:
    """Copy the results that modules hold, which ``copy.deepcopy`` refuses while gradients flow.

    Args:
        module: May keep its last features in an attribute, alone or in a list or dictionary, or a
            computed weight.

    Returns:
        A memo for ``copy.deepcopy``.
    """
    return {
        id(tensor): tensor.detach().clone()
        for part in module.modules()
        for name, value in vars(part).items()
        # What is in its parts is found there.
        if isinstance(value, (Tensor, dict, list, tuple)) and name != "_modules"
        for tensor in (tensors_of(value) if isinstance(value, Tensor) or value else ())
        if tensor.grad_fn is not None
    }


class Recorder(fx.Interpreter):
    """Runs a graph and notes what ``TracedModel`` says of its nodes.

    Args:
        model: Its modules are those that the graph calls.
        graph: The graph; it may grow later.
        garbage_collect_values: Values are let go as soon as no node reads them.
    """

    def __init__(
        self, model: nn.Module, graph: fx.Graph, *, garbage_collect_values: bool = True
    ) -> None:
        """Start before the first node."""
        super().__init__(model, garbage_collect_values, graph)
        self.shapes: dict[fx.Node, Shape] = {}
        self.itemsizes: dict[fx.Node, int] = {}
        self.truths: set[fx.Node] = set()
        self.parts: dict[fx.Node, tuple[Shape, ...]] = {}
        self.reuses: dict[fx.Node, fx.Node] = {}
        self.scratch_bytes: dict[fx.Node, int] = {}

    def run_on(self, known: Recorder | None, inputs: Iterable[Tensor]) -> object:
        """Run the graph, from where another one has left off.

        Args:
            known: It ran the first nodes, all or none of the inputs among them; its values are taken.
            inputs: Of the graph.

        Returns:
            What the model returns.
        """
        if known is None:
            return self.run(*inputs)
        self.shapes |= known.shapes
        self.itemsizes |= known.itemsizes
        self.truths |= known.truths
        self.parts |= known.parts
        self.reuses |= known.reuses
        self.scratch_bytes |= known.scratch_bytes
        return self.run(*inputs, initial_env=known.env)

    def run_node(self, n: fx.Node) -> object:
        """Run a node and look at its result."""
        with _StorageWatch() as watch:
            result = super().run_node(n)
        tensors = tensors_of(result)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
            self.itemsizes[n] = result.element_size()
            if result.dtype == torch.bool:
                self.truths.add(n)
        elif tensors and n.op != "output":
            self.parts[n] = tuple(tuple(tensor.shape) for tensor in tensors)
            self.itemsizes[n] = tensors[0].element_size()
        places = {place_of(tensor) for tensor in tensors}
        for source in n.all_input_nodes:
            if any(place_of(held) in places for held in tensors_of(self.env.get(source))):
                self.reuses[n] = source
        own_bytes = 0
        if tensors and n not in self.reuses:
            own_bytes = tensors[0].untyped_storage().nbytes()
        if watch.peak_bytes > own_bytes:
            self.scratch_bytes[n] = watch.peak_bytes
        return result


class _StorageWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations make inside the block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._live_bytes = 0
        self._alive: dict[int, object] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = {place_of(tensor) for tensor in tensors_of((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_of(result):
            storage = tensor.untyped_storage()
            key = place_of(tensor)
            if key not in given and key not in self._alive:
                self._add(key, storage)
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        return result

    def _add(self, key: int, storage: torch.UntypedStorage) -> None:
        n_bytes = storage.nbytes()
        self._alive[key] = weakref.ref(storage, functools.partial(self._remove, key, n_bytes))
        self._live_bytes += n_bytes

    def _remove(self, key: int, n_bytes: int, _: object) -> None:
        del self._alive[key]
        self._live_bytes -= n_bytes
