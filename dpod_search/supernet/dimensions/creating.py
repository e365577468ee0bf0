"""Handlers of operations that make a tensor of given sizes: zeros, ones, random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.tracing.tracked import Attribute
from dpod_search.supernet.tracing.tracked import TrackedInt


def create(discovery: Discovery, node: fx.Node) -> Axes:
    """Zeros and the like: an axis belongs to what its size is read from."""
    axes: Axes = {}
    for axis, size in enumerate(_sizes_of(discovery, node)):
        size = discovery.sizes.find_element(size)
        layout = _read_size(discovery, node, size)
        if layout is not None and is_elastic(layout):
            axes[axis] = layout
        elif layout is None:
            pin_numbers(discovery, node, size)
            if discovery.sizes.follows_widths(size):
                pin_numbers(discovery, node)
                return freeze_inputs(discovery, node, "has a size that is computed")
    return axes


def _sizes_of(discovery: Discovery, node: fx.Node) -> Sequence[Any]:
    given = node.args[1:] if node.op == "call_method" else node.args
    first = given[0] if given else node.kwargs.get("size")
    return discovery.sizes.list_row(first) or given


def _read_size(discovery: Discovery, node: fx.Node, size: Any) -> Layout | None:
    """Return what a size stands for; None if that is not known."""
    if isinstance(size, TrackedInt) and isinstance(size.origin, Attribute):
        known = discovery.sizes.attributes.get(size.origin)
        if known is None:  # what it is shows where the tensor goes
            known = discovery.dims.add_size(int(size), str(size.origin))
        discovery.sizes.bind(size, known, discovery.where(node))
        return discovery.dims.expand(known)
    meaning = discovery.sizes.read(size)
    return meaning if isinstance(meaning, tuple) else None
