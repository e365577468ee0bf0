"""What of a net has macs or parameters, at full width, and which groups change it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.plans import Grouping


@dataclass(frozen=True)
class Part:
    """A layer, a parameter of the model's own or a product of two tensors, at full width.

    Args:
        name: Path of the layer or parameter, or name of the product's operation in the graph.
        groups: The groups that change its size, or that it is a block of.
        macs: Per sample.
        params: Its own.
    """

    name: str
    groups: frozenset[int]
    macs: int
    params: int


def list_parts(grouping: Grouping) -> tuple[Part, ...]:
    """List what has macs or parameters and is understood, with its cost at full width.

    Args:
        grouping: What discovery found.

    Returns:
        Layers, parameters and products. Macs add up to those of the full net; parameters may
        stand outside all of them, and tied ones are in several.
    """
    return (*_list_layers(grouping), *_list_parameters(grouping), *_list_products(grouping))


def _list_layers(grouping: Grouping) -> Iterator[Part]:
    for plan in grouping.layers:
        n_outputs = full_size(plan.output)
        weight = n_outputs * full_size(plan.weight_input) * plan.kernel_numel
        macs, params = weight * plan.n_positions, weight + n_outputs * plan.n_vectors
        for matrix in plan.matrices:
            n_rows = full_size(matrix.rows)
            n_elements = n_rows * full_size(matrix.columns)
            macs += n_elements * matrix.n_positions
            params += n_elements + (n_rows if matrix.bias else 0)
        yield Part(plan.name, _find_groups(plan.layouts, plan.blocks), macs, params)


def _list_parameters(grouping: Grouping) -> Iterator[Part]:
    for plan in grouping.parameters:
        if not plan.is_learnt:
            continue
        n_elements = math.prod(map(full_size, plan.axes))
        yield Part(plan.name, _find_groups(plan.axes, plan.blocks), 0, n_elements)


def _list_products(grouping: Grouping) -> Iterator[Part]:
    for plan in grouping.products:
        macs = plan.constant * math.prod(map(full_size, plan.factors)) // plan.batch_size
        yield Part(plan.node, _find_groups(plan.factors, plan.blocks), macs, 0)


def _find_groups(layouts: Iterable[Layout], blocks: Iterable[int]) -> frozenset[int]:
    inside = (segment.group for layout in layouts for segment in layout)
    return frozenset((*(group for group in inside if group is not None), *blocks))
