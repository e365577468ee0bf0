"""Decisions of the user's code about sizes: branches, loops, and numbers outside the graph.

A trace takes the way that the sizes of the example lead to. What else a narrower net would do, it
does not show, so dimensions whose widths would change a decision stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import full_size


_Narrowed = tuple[int, int]  # a dimension, and to how many units


def freeze_decided(discovery: Discovery, deciding: tuple[fx.Node, ...]) -> None:
    """Freeze every dimension that decides something by its size.

    Args:
        discovery: After its walk.
        deciding: What was computed from sizes and then looked at.
    """
    for node in dict.fromkeys(deciding):
        chain = _find_chain(discovery, node)
        whole = _Sizes(discovery, None).compute(chain)
        for segment in _list_segments(discovery, chain):
            if any(
                _differs(whole, _Sizes(discovery, narrowed).compute(chain))
                for narrowed in _narrow(segment)
            ):
                does = "decides by its size which way the code goes, or how often"
                discovery.dims.freeze((segment,), f"{discovery.where(node)} {does}")


def _find_chain(discovery: Discovery, node: fx.Node) -> list[fx.Node]:
    """Return what a node is computed from, back to the tensors whose sizes it reads, in order."""
    found: dict[fx.Node, None] = {}

    def visit(node: fx.Node) -> None:
        if node in found:
            return
        if node not in discovery.shapes:
            for source in node.all_input_nodes:
                visit(source)
        found[node] = None

    visit(node)
    return list(found)


def _list_segments(discovery: Discovery, chain: list[fx.Node]) -> list[Segment]:
    """Return what could be narrowed in the tensors of a chain, each dimension once."""
    layouts = [
        layout
        for node in chain
        if node in discovery.shapes
        for layout in discovery.axes(node).values()
    ]
    segments = {s.group: s for layout in layouts for s in layout if s.group is not None}
    return list(segments.values())


def _narrow(segment: Segment) -> Iterator[_Narrowed]:
    """Choose widths that a decision is tried at."""
    assert segment.group is not None
    for n_units in sorted({1, segment.full // 2, segment.full - 1} - {0, segment.full}):
        yield segment.group, n_units


class _Sizes(fx.Interpreter):
    """Computes numbers from the sizes of tensors without values, one dimension narrowed.

    Args:
        discovery: Knows what the axes of tensors belong to.
        narrowed: The dimension.
    """

    def __init__(self, discovery: Discovery, narrowed: _Narrowed | None) -> None:
        super().__init__(nn.Module(), graph=fx.Graph())
        self._discovery = discovery
        self._narrowed = narrowed

    def compute(self, chain: list[fx.Node]) -> Any:
        """Return what the last of a chain is, or None if it cannot be computed so."""
        try:
            for node in chain:
                is_tensor = node in self._discovery.shapes
                self.env[node] = self._make(node) if is_tensor else self.run_node(node)
        except Exception:  # noqa: BLE001  # what is no matter of sizes alone
            return None
        return self.env[chain[-1]]

    def _make(self, node: fx.Node) -> torch.Tensor:
        axes = range(len(self._discovery.shapes[node]))
        sizes = [self._measure(self._discovery.layout(node, axis)) for axis in axes]
        return torch.empty(sizes, device="meta")

    def _measure(self, layout: Layout) -> int:
        if self._narrowed is None:
            return full_size(layout)
        group, n_units = self._narrowed
        return sum(
            int(n_units * segment.repeat) if segment.group == group else segment.size
            for segment in layout
        )


def _differs(one: Any, other: Any) -> bool:
    return other is None or bool(one != other)
