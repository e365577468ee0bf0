"""What a channel group weighs: the costs of what it widens, and what narrowing it alone saves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dpod_search.footprint.model import FootprintModel
from dpod_search.supernet import Grouping
from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.supernet import full_size


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


@dataclass(frozen=True)
class Share:
    """Shares of the full net's footprint, each in [0, 1].

    Args:
        macs: Share of its macs.
        params: Share of its parameters.
    """

    macs: float
    params: float


@dataclass(frozen=True)
class GroupShares:
    """What one channel group weighs in the full net.

    Args:
        in_layers: What lies in the layers that the group widens or narrows. A layer between two
            groups counts for both, so that these shares add up to more than 1.
        saves: What narrowing this group alone to its first rung saves.
    """

    in_layers: Share
    saves: Share


def list_parts(grouping: Grouping) -> tuple[Part, ...]:
    """List what has macs or parameters and is understood, with its cost at full width.

    Args:
        grouping: What discovery found.

    Returns:
        Layers, parameters and products. Macs add up to those of the full net; parameters may
        stand outside all of them, and tied ones are in several.
    """
    return (*_list_layers(grouping), *_list_parameters(grouping), *_list_products(grouping))


def measure_shares(supernet: Supernet, footprint: FootprintModel) -> tuple[GroupShares, ...]:
    """Measure what every group weighs, all of them at once.

    Args:
        supernet: The net.
        footprint: Its footprint model.

    Returns:
        Shares of every group, in the order of the space.
    """
    space = supernet.space
    narrowed = np.tile(np.array(space.full.active), (len(space.names) + 1, 1))
    np.fill_diagonal(narrowed[1:], space.smallest.active)
    table = footprint.table(narrowed)
    totals = {name: max(int(table[name][0]), 1) for name in ("macs", "params")}
    held = [Share(0, 0)] * len(space.names)
    for part in list_parts(supernet.grouping):
        for group in part.groups:
            share = held[group]
            held[group] = Share(share.macs + part.macs, share.params + part.params)
    return tuple(
        GroupShares(
            Share(share.macs / totals["macs"], share.params / totals["params"]),
            Share(
                1 - int(table["macs"][i + 1]) / totals["macs"],
                1 - int(table["params"][i + 1]) / totals["params"],
            ),
        )
        for i, share in enumerate(held)
    )


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
