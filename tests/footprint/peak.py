"""Peak activation memory of a plain net, watched storage by storage while it runs.

Every aten operation's new storages are noted, and when they are freed. Parameters and buffers are
not counted, the pictures are: they are there from the first operation to the last.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from footprint.counters import evaluating_unfused
from torch import Tensor
from torch import fx
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Peak:
    """The most bytes that were alive at once.

    Args:
        n_bytes: How many.
        where: The operation that ended with them, in words.
    """

    n_bytes: int
    where: str


class StorageWatch(TorchDispatchMode):
    """Notes every storage that operations make inside the block, and when it is freed.

    Args:
        ignored: Tensors whose storages are not counted, parameters for instance.
    """

    def __init__(self, ignored: Iterable[Tensor] = ()) -> None:
        super().__init__()
        # Addresses are unique while a storage lives, and those of the ignored outlive the watch.
        self._ignored = {tensor.untyped_storage()._cdata for tensor in ignored}
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.live_bytes = 0
        self.peak = Peak(0, "nothing")

    def add(self, value: object, where: str) -> None:
        """Count the storages of the tensors in a value that are not counted yet."""
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor):
                self._add_storage(tensor.untyped_storage())
        if self.live_bytes > self.peak.n_bytes:
            self.peak = Peak(self.live_bytes, where)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(result, str(func))
        return result

    def _add_storage(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive or key in self._ignored:
            return
        n_bytes = storage.nbytes()
        self._alive[key] = weakref.ref(storage, partial(self._remove, key, n_bytes))
        self.live_bytes += n_bytes

    def _remove(self, key: int, n_bytes: int, _: object) -> None:
        del self._alive[key]
        self.live_bytes -= n_bytes


def trace_graph(model: nn.Module) -> fx.GraphModule:
    """Trace an evaluating net; modules that cannot be traced further are leaves."""
    untraceable = ("torchvision.models.convnext.LayerNorm2d",)

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            name = f"{type(m).__module__}.{type(m).__qualname__}"
            return name in untraceable or super().is_leaf_module(m, module_qualified_name)

    traced = fx.GraphModule(model, Tracer().trace(model))
    # The interpreter frees results that nothing reads only at the end.
    traced.graph.eliminate_dead_code()
    return traced


def measure_graph_peaks(model: nn.Module, images: Tensor) -> tuple[Peak, Peak]:
    """Run a net node by node, every value freed after its last use.

    Returns:
        The peak over all operations, those inside a leaf and its passing results included, and
        the peak at the ends of nodes alone: the values that a planner of the graph sees.
    """
    ends: list[Peak] = []

    class Runner(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            ends.append(Peak(watch.live_bytes, f"{n.op} {n.target}"))
            return result

    with evaluating_unfused(model):
        runner = Runner(trace_graph(model))
        with _watching(model, images) as watch:
            runner.run(images)
    return watch.peak, max(ends, key=lambda peak: peak.n_bytes)


def measure_eager_peak(model: nn.Module, images: Tensor) -> Peak:
    """Call a net; values live as long as Python's variables hold them."""
    with evaluating_unfused(model), _watching(model, images) as watch:
        model(images)
    return watch.peak


@contextmanager
def _watching(model: nn.Module, images: Tensor) -> Iterator[StorageWatch]:
    watch = StorageWatch([*model.parameters(), *model.buffers()])
    watch.add(images, "the pictures")
    with watch:
        yield watch
