"""Handlers of einops: axes are named in a pattern, split, moved, merged, reduced and repeated.

Reference: Einops: Clear and Reliable Tensor Manipulations with Einstein-like Notation, Rogozhnikov,
2022.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.reshaping import merge
from dpod_search.supernet.dimensions.reshaping import reshape_block
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic


_TERM = re.compile(r"\(([^)]*)\)|(\.\.\.)|(\w+)")
_NOT_LENGTHS = ("reduction", "pattern", "tensor")


def rearrange(discovery: Discovery, node: fx.Node) -> Axes:
    """``rearrange``, ``reduce`` and ``repeat``, as functions and as layers."""
    source = node.args[0] if node.args else node.kwargs.get("tensor")
    pattern, lengths = _read_call(discovery, node)
    if not isinstance(source, fx.Node) or source not in discovery.shapes or pattern is None:
        return freeze_inputs(discovery, node, "joins parts that are used together")
    shape = discovery.shapes[source]
    left, right = pattern.split("->")
    n_others = len(shape) - len(_parse(left, 0))
    before, after = _parse(left, n_others), _parse(right, n_others)
    known: dict[str, Layout] = {}
    for axis, names in enumerate(before):
        layout = discovery.layout(source, axis)
        found = _split(discovery, node, layout, names, lengths)
        if found is None:
            does = f"{discovery.where(node)} splits it by sizes that do not follow the widths"
            discovery.dims.freeze(layout, does)
            found = _fix(names, full_size(layout), lengths)
        known |= found
    for name, length in lengths.items():
        if name not in known and isinstance(length, int):  # a new axis, which repeats the others
            discovery.sizes.bind(length, fixed(int(length)), discovery.where(node))
            known[name] = fixed(int(length))
    first = before[0][0] if before and before[0] else ""
    return _merge(discovery, node, known, after, first)


def _merge(
    discovery: Discovery,
    node: fx.Node,
    known: Mapping[str, Layout],
    after: Sequence[Sequence[str]],
    first: str,
) -> Axes:
    """Return the axes of the result, each of those that are named in it.

    Args:
        discovery: The walk.
        node: The operation.
        known: Layouts by name.
        after: Names inside each axis of the result.
        first: The name that holds the batch.
    """
    axes: Axes = {}
    for axis, names in enumerate(after):
        layouts = [discovery.dims.expand(known.get(name, fixed(1))) for name in names]
        merged = merge(layouts, has_batch=bool(names) and names[0] == first) if names else fixed(1)
        if merged is not None and full_size(merged) != discovery.shapes[node][axis]:
            merged = None  # one of the lengths is computed
        if merged is None:
            for layout in layouts:
                discovery.dims.freeze(
                    layout, f"{discovery.where(node)} folds it behind other axes"
                )
        elif is_elastic(merged):
            axes[axis] = merged
    return axes


def _read_call(discovery: Discovery, node: fx.Node) -> tuple[str | None, Mapping[str, Any]]:
    """Return the pattern of a call and the lengths that it gives, as numbers or nodes."""
    if node.op == "call_module":
        module: Any = discovery.module(node)
        return module.pattern, _numbers_in(module.pattern) | module.axes_lengths
    pattern = node.args[1] if len(node.args) > 1 else node.kwargs.get("pattern")
    lengths = {name: size for name, size in node.kwargs.items() if name not in _NOT_LENGTHS}
    if not isinstance(pattern, str):
        return None, lengths
    return pattern, _numbers_in(pattern) | lengths


def _numbers_in(pattern: str) -> dict[str, Any]:
    """Return the numbers in a pattern, each as the length of an axis of its name."""
    return {text: int(text) for text in re.findall(r"\b\d+\b", pattern) if text != "1"}


def _parse(side: str, n_others: int) -> list[list[str]]:
    """Return the names inside each axis of one side of a pattern; ``...`` stands for several."""
    found: list[list[str]] = []
    for inner, dots, name in _TERM.findall(side):
        if dots:
            found += [[f"...{i}"] for i in range(n_others)]
        elif name:
            found.append([] if name == "1" else [name])
        else:
            parts = [part for part in inner.split() if part != "1"]
            others = [f"...{i}" for i in range(n_others)]
            found.append([n for p in parts for n in (others if p == "..." else [p])])
    return found


def _split(
    discovery: Discovery,
    node: fx.Node,
    layout: Layout,
    names: Sequence[str],
    lengths: Mapping[str, Any],
) -> dict[str, Layout] | None:
    """Return the layouts of the axes that one axis is split into, by name."""
    if len(names) == 1:
        size = lengths.get(names[0], -1)
        follows = discovery.sizes.bind(size, layout, discovery.where(node))
        return {names[0]: layout} if follows or not is_elastic(layout) else None
    if not names:
        return {}
    fixed_layouts = _fix(names, full_size(layout), lengths)
    sizes = [lengths.get(name, -1) for name in names]
    shape = [full_size(fixed_layouts[name]) for name in names]
    made = reshape_block(discovery, node, [layout], sizes, shape)
    if made is None:
        return None
    return fixed_layouts | {names[i]: part for i, part in made.items()}


def _fix(names: Sequence[str], size: int, lengths: Mapping[str, Any]) -> dict[str, Layout]:
    """Return the axes of one of fixed size; at most one has no length, or all but the first are 1."""
    given = {n: int(lengths[n]) for n in names if isinstance(lengths.get(n), int)}
    rest = size // max(1, math.prod(given.values()))
    found: dict[str, Layout] = {}
    for name in names:
        found[name] = fixed(given.get(name, rest))
        rest = rest if name in given else 1
    return found
