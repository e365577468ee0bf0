"""Handlers of operations that repeat axes: expand, repeat, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.reshaping import MOST_COPIES
from dpod_search.supernet.dimensions.reshaping import sizes_of
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


def expand(discovery: Discovery, node: fx.Node) -> Axes:
    """Expand or repeat: axes of size 1 are repeated, the others pass."""
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    shift = len(after) - len(before)
    repeats = _is_repeat(node)
    sizes = sizes_of(discovery, node)
    axes = _repeat_fixed(discovery, node, sizes or ())
    for axis, layout in discovery.axes(source).items():
        if not is_elastic(layout):
            continue
        size = None if sizes is None else sizes[axis + shift]
        passes = isinstance(size, int) and size == 1 if repeats else size == -1
        if not passes and not repeats and size is not None:
            passes = discovery.sizes.bind(size, layout, discovery.where(node))
        if before[axis] == after[axis + shift] and passes:
            axes[axis + shift] = layout
        elif repeats and isinstance(size, int) and len(layout) * size <= MOST_COPIES:
            pin_numbers(discovery, node)
            axes[axis + shift] = layout * int(size)
        else:
            discovery.dims.freeze(layout, f"{discovery.where(node)} repeats it")
    return axes


def _repeat_fixed(discovery: Discovery, node: fx.Node, sizes: Sequence[Any]) -> Axes:
    """Return the axes of one element that are repeated as often as there are channels.

    Other sizes or counts by which fixed axes are repeated are no widths.
    """
    source = discovery.first_input(node)
    before, after = discovery.shapes[source], discovery.shapes[node]
    shift = len(after) - len(before)
    axes: Axes = {}
    for axis, size in enumerate(sizes):
        is_new = axis < shift
        if not is_new and is_elastic(discovery.layout(source, axis - shift)):
            continue
        n_before = 1 if is_new else before[axis - shift]
        if n_before == 1 and after[axis] > 1:
            width = discovery.sizes.read_width(size)
            if is_elastic(width):
                axes[axis] = width
                continue
        is_count = _is_repeat(node) and not is_new
        made = after[axis] // max(1, n_before) if is_count else after[axis]
        discovery.sizes.bind(size, fixed(made), discovery.where(node))
    return axes


def _is_repeat(node: fx.Node) -> bool:
    """Say whether a node repeats a tensor, by counts and not by sizes."""
    return node.target == "repeat"


def repeat_elements(discovery: Discovery, node: fx.Node) -> Axes:
    """``repeat_interleave`` along an axis: each element stands several times in a row."""
    source = discovery.first_input(node)
    n_times, chosen = argument(node, 1, "repeats", None), argument(node, 2, "dim", None)
    if not isinstance(n_times, int) or not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "repeats it by numbers that are computed")
    pin_numbers(discovery, node)
    axis = chosen % len(discovery.shapes[source])
    return {
        other: scale(layout, Fraction(n_times)) if other == axis else layout
        for other, layout in discovery.axes(source).items()
    }
