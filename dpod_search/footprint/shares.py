"""What a channel group weighs: the costs of what it widens, and what narrowing it alone saves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpod_search.footprint.model import FootprintModel
from dpod_search.supernet import Supernet
from dpod_search.supernet import list_parts


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
