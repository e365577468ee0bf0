"""Which groups exist inside a removable block only: without it their widths mean nothing."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import Operation


def find_inside(grouping: Grouping) -> dict[str, tuple[str, ...]]:
    """Find the groups that go with each block.

    A group of channels or heads is inside a block if all that its width touches lies there: every
    layer, parameter, product and attribute of the user's that it sizes, and every operation whose
    result has it. A block is inside those that its path names.

    Args:
        grouping: What discovery found.

    Returns:
        By block, in the order of the groups, the groups inside it, if there are any.
    """
    around: dict[int, set[int]] = {}  # by group, the blocks that hold all it touches
    for groups, blocks in _list_touches(grouping):
        for group in groups:
            around[group] = around.get(group, set(blocks)).intersection(blocks)
    for block in grouping.blocks:
        around[block.group] = set(_blocks_around(grouping, block.path)) - {block.group}
    names = [group.name for group in grouping.groups]
    inside = {
        names[block.group]: tuple(
            name for group, name in enumerate(names) if block.group in around.get(group, ())
        )
        for block in grouping.blocks
    }
    return {block: inner for block, inner in inside.items() if inner}


def _list_touches(grouping: Grouping) -> Iterator[tuple[set[int], tuple[int, ...]]]:
    """Yield what widths touch: the groups that size a thing, and the blocks that it is in."""
    for layer in grouping.layers:
        yield _groups_of((layer.output, layer.weight_input)), layer.blocks
    for parameter in grouping.parameters:
        yield _groups_of(parameter.axes), parameter.blocks
    for product in grouping.products:
        yield _groups_of(product.factors), product.blocks
    for operation in grouping.operations:
        yield _groups_of(_layouts_of(operation)), operation.blocks
    for attribute in grouping.attributes:
        yield _groups_of((attribute.size,)), _blocks_around(grouping, attribute.module)


def _layouts_of(operation: Operation) -> Iterator[Layout]:
    yield from operation.axes
    for moment in operation.scratch:
        yield from moment.if_equal or ()
        for _, layouts in moment.terms:
            yield from layouts


def _groups_of(layouts: Iterable[Layout]) -> set[int]:
    return {s.group for layout in layouts for s in layout if s.group is not None}


def _blocks_around(grouping: Grouping, path: str) -> tuple[int, ...]:
    """Return the blocks that a module is in, or is."""
    return tuple(b.group for b in grouping.blocks if f"{path}.".startswith(f"{b.path}."))
