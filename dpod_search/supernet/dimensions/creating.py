"""Handlers of operations that make a tensor of given sizes: zeros, ones, random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.spatial import freeze_size
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import is_elastic


CREATING_METHODS = ("new_zeros", "new_ones", "new_empty", "new_full")


def create(discovery: Discovery, node: fx.Node) -> Axes:
    """Zeros and the like: an axis is as wide as what its size is read from."""
    given: Any = node.args[1:] if node.op == "call_method" else node.args
    first = given[0] if given else node.kwargs.get("size")
    row = discovery.sizes.list_row(first)
    sizes: Sequence[Any] = given if row is None else row
    axes: Axes = {}
    for axis, size in enumerate(sizes[: len(discovery.shapes[node])]):
        width = discovery.sizes.read_width(discovery.sizes.find_element(size))
        if is_elastic(width):
            axes[axis] = width
        elif isinstance(size, fx.Node) and discovery.sizes.follows_widths(size):
            freeze_size(discovery, size, f"{discovery.where(node)} makes a tensor of its size")
        else:
            pin_numbers(discovery, node, size)
    return axes
