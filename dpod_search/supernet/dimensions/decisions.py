"""Decisions of the user's code about sizes: branches, loops, and numbers outside the graph.

A trace takes the way that the sizes of the example lead to. What else a narrower net would do, it
does not show, so dimensions whose widths would change a decision stay as they are.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.tracing.tracked import Attribute
from dpod_search.supernet.tracing.tracked import TrackedInt


_Shares = dict[int, Fraction]  # how much of dimensions is left
_N_TRIED = 64  # widths of a dimension, and of several at once


def freeze_decided(discovery: Discovery, deciding: tuple[fx.Node, ...]) -> None:
    """Freeze every dimension that decides something by its size.

    Args:
        discovery: After its walk.
        deciding: What was computed from sizes and then looked at.
    """
    for node in dict.fromkeys(deciding):
        if _agrees(discovery, node):
            continue
        chain = _find_chain(discovery, node)
        segments = _list_segments(discovery, chain)
        whole = _Sizes(discovery, {}).compute(chain)

        def changes(shares: _Shares, chain: list[fx.Node] = chain, whole: Any = whole) -> bool:
            return _differs(whole, _Sizes(discovery, shares).compute(chain))

        does = f"{discovery.where(node)} decides by its size which way the code goes, or how often"
        for group, segment in segments.items():
            widths = _list_widths(segment)
            if any(changes({group: Fraction(width, segment.full)}) for width in widths):
                discovery.dims.freeze((segment,), does)
        if len(segments) > 1 and any(map(changes, _draw_widths(segments))):
            discovery.dims.freeze(tuple(segments.values()), does)


def _agrees(discovery: Discovery, node: fx.Node) -> bool:
    """Let an attribute that is a width follow the size that it is compared with, and equals.

    Only one that some size is made of, or of a module whose code is known: another may be read as a
    number elsewhere, for a loop say, which the graph does not show.

    Args:
        discovery: After its walk.
        node: What was looked at.

    Returns:
        Whether it is such a comparison; it then comes out the same at every width.
    """
    if node.target not in (operator.eq, operator.ne):
        return False
    for size, number in (node.args, node.args[::-1]):
        is_known = isinstance(number, TrackedInt) and _is_width(discovery, number)
        meaning = discovery.sizes.read(size) if is_known and isinstance(size, fx.Node) else None
        if isinstance(meaning, tuple) and is_elastic(meaning) and full_size(meaning) == number:
            return discovery.sizes.bind(number, meaning, discovery.where(node))
    return False


def _is_width(discovery: Discovery, number: TrackedInt) -> bool:
    origin = number.origin
    if not isinstance(origin, Attribute):
        return False
    is_known = type(discovery.modules[origin.module]) is nn.Transformer
    return is_known or origin in discovery.sizes.attributes


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


def _list_segments(discovery: Discovery, chain: list[fx.Node]) -> dict[int, Segment]:
    """Return what could be narrowed in the tensors of a chain, by its dimension.

    Not what is frozen, nor the size of a parameter alone.
    """
    dims = discovery.dims
    layouts = [
        layout
        for node in chain
        if node in discovery.shapes
        for layout in discovery.axes(node).values()
    ]
    found: dict[int, Segment] = {}
    for segment in (s for layout in layouts for s in dims.expand(layout)):
        dim = dims.dim_of(segment)
        if segment.group is not None and dim is not None and dim.is_made and not dim.reasons:
            found.setdefault(dims.find(segment.group), segment)
    return found


def _list_widths(segment: Segment) -> list[int]:
    """Return the widths that a decision is tried at: all, or some of very many."""
    most = segment.full
    return sorted({max(1, round(most * i / _N_TRIED)) for i in range(_N_TRIED)} | {most - 1} - {0})


def _draw_widths(segments: Mapping[int, Segment]) -> Iterator[_Shares]:
    """Draw widths of several dimensions at once, and go through those of one ratio."""
    rng = np.random.default_rng(0)
    for i in range(1, _N_TRIED):
        yield {g: Fraction(max(1, s.full * i // _N_TRIED), s.full) for g, s in segments.items()}
        yield {g: Fraction(int(rng.integers(1, s.full + 1)), s.full) for g, s in segments.items()}


class _Sizes(fx.Interpreter):
    """Computes numbers from the sizes of tensors without values, some dimensions narrowed.

    Args:
        discovery: Knows what the axes of tensors belong to.
        narrowed: The dimensions.
    """

    def __init__(self, discovery: Discovery, narrowed: _Shares) -> None:
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
        dims, size = self._discovery.dims, 0
        for segment in dims.expand(layout):
            root = None if segment.group is None else dims.find(segment.group)
            share = 1 if root is None else self._narrowed.get(root, 1)
            size += int(segment.full * segment.repeat * share)
        return size


def _differs(one: Any, other: Any) -> bool:
    return one is None or other is None or bool(one != other)
