"""Values of a graph that is still being traced: sizes, and how many parts an operation made.

``map(f, qkv.chunk(3))`` and ``b, n, _, h = *x.shape, heads`` iterate over what is no sequence yet,
and ``if h % 4`` asks for a number. The operations so far are run on the example input, and what
they made is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.supernet.tracing.recording import Recorder


# Their forward raises on a wrong number of axes.
_CHECKING: tuple[type[Any], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Peek:
    """Runs a growing graph as far as it goes.

    While it does, ``is_running``, the tracer lets modules be: values are computed as without it.

    Args:
        inputs: What the model is called with.
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        """Start before the first operation."""
        self._inputs = tuple(map(torch.clone, inputs))  # the model may write into them
        self._runner: Recorder | None = None
        self.is_running = False

    def measure(self, node: fx.Node, model: nn.Module) -> int:
        """Return how many parts a node of the graph makes.

        Args:
            node: The node.
            model: Whose modules the graph calls.

        Raises:
            TypeError: If it makes something without a length.
        """
        value = self.evaluate(node, model)
        if isinstance(value, Tensor):  # its first axis may be the batch, which is of any size
            raise TypeError("a tensor of the trace has no length")
        return len(value)

    def evaluate(self, node: fx.Node, model: nn.Module) -> Any:
        """Return what a node of the graph makes on the example input.

        Args:
            node: The node.
            model: Whose modules the graph calls.
        """
        if self._runner is None:
            # It notes what it sees, so that the whole graph need not be run once more.
            self._runner = Recorder(model, node.graph, garbage_collect_values=False)
            self._runner.args_iter = iter(self._inputs)
        values = self._runner.env
        if node in values:
            return values[node]
        behind = itertools.takewhile(lambda made: made not in values, reversed(node.graph.nodes))
        self.is_running = True
        try:
            with torch.no_grad():
                for made in reversed(list(behind)):
                    values[made] = self._runner.run_node(made)
        finally:
            self.is_running = False
        return values[node]

    def take_record(self) -> Recorder | None:
        """Return what is known of the graph so far; None where nothing was asked.

        Nor where what the code keeps in a buffer was read: inside a trace that is a part of it.
        """
        runner, self._runner = self._runner, None
        held = runner.env.values() if runner else ()
        return None if any(isinstance(value, fx.Proxy) for value in held) else runner


@contextmanager
def with_len(measure: Callable[[fx.Proxy], int]) -> Iterator[None]:
    """Let what is being traced have a ``len`` inside the block.

    Args:
        measure: Returns it; raises a ``TypeError`` where there is none, such as of a tensor, which
            ``[*x]`` does without.
    """
    plain = fx.Proxy.__len__

    def count(proxy: fx.Proxy) -> int:
        return measure(proxy)

    fx.Proxy.__len__ = count  # type: ignore[method-assign]
    try:
        yield
    finally:
        fx.Proxy.__len__ = plain  # type: ignore[method-assign]


@contextmanager
def without_checks() -> Iterator[None]:
    """Let norms not look at the number of axes inside the block, which a trace does not know.

    A forward of the user's own may call the one of PyTorch's BatchNorm, which looks.
    """
    plain = {kind: vars(kind)["_check_input_dim"] for kind in _CHECKING}
    try:
        for kind in plain:
            kind._check_input_dim = _accept
        yield
    finally:
        for kind, check in plain.items():
            kind._check_input_dim = check


def _accept(_norm: nn.Module, _input: object) -> None:
    pass
