"""Handlers of operations that make a tensor of sizes alone, all its elements alike or random."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from dpod_search.supernet.dimensions.spatial import freeze_size
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic


CREATING_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    torch.zeros,
    torch.ones,
    torch.empty,
    torch.full,
    torch.rand,
    torch.randn,
)
CREATING_METHODS = ("new_zeros", "new_ones", "new_empty", "new_full")


def create(discovery: Discovery, node: fx.Node) -> Axes:
    """Zeros, ones, a number: an axis is as wide as what its size is read from."""
    given: Any = node.args[1:] if node.op == "call_method" else node.args
    given = given or (node.kwargs.get("size"),)
    first = discovery.sizes.list_row(given[0])
    sizes: Sequence[Any] = given if first is None else first
    shape = discovery.shapes[node]
    axes: Axes = {}
    for axis, size in enumerate(sizes[: len(shape)]):
        width = discovery.sizes.read(discovery.sizes.find_element(size))
        if isinstance(width, tuple) and is_elastic(width) and full_size(width) == shape[axis]:
            axes[axis] = width
        elif isinstance(size, fx.Node) and discovery.sizes.follows_widths(size):
            freeze_size(discovery, size, f"{discovery.where(node)} makes a tensor of its size")
        else:
            discovery.sizes.bind(size, fixed(shape[axis]), discovery.where(node))
    return axes
