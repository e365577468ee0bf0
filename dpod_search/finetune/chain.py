"""The chain: each subnet is cut from the finetuned one that it lies in, the largest first.

What a subnet has learnt is not lost on the next smaller one, which begins near where the larger
ended: progressive shrinking, of what is delivered. A subnet lies in another if none of its groups
is wider. It is cut from the smallest finetuned one that it lies in; where it lies in none, from
the supernet.

Units are put in the order of their magnitude before each cut, for finetuning has changed them; of
all that goes with a unit, the weights that read it too.

Reference: Cai et al.: Once-for-All, 2019 (arXiv 1908.09791), section 3.3: progressive shrinking
and sorted channels, of the supernet there. The order: Fang et al., 2023 (2301.12900).
"""

from __future__ import annotations

from collections.abc import Sequence

from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import absorb_subnet
from dpod_search.supernet import copy_supernet
from dpod_search.supernet import reorder_units
from dpod_search.widths import Widths
from dpod_search.widths import lies_in


def plan_parents(subnets: Sequence[Subnet], settings: FinetuneSettings) -> list[int | None]:
    """Say of each subnet which of the others it is cut from, as :func:`find_parents` does.

    Args:
        subnets: Of one supernet.
        settings: Without a chain, or without training, all are cut from the supernet.
    """
    if not settings.chain or settings.epochs == 0 or not subnets:
        return [None] * len(subnets)
    supernet = subnets[0].supernet
    footprint = build_footprint(supernet)
    return find_parents(
        [subnet.widths for subnet in subnets],
        [footprint.measure(subnet.widths)["macs"] for subnet in subnets],
        full=supernet.space.full,
    )


def find_parents(
    subnets: Sequence[Widths], macs: Sequence[float], *, full: Widths
) -> list[int | None]:
    """Say of each subnet which of the others it is cut from.

    Args:
        subnets: Their widths, of one space.
        macs: What each costs.
        full: The full net, nobody's parent: it would hide what the supernet knows of the narrow ones.

    Returns:
        The place of the parent, None for the supernet. Equal subnets have one parent.
    """
    found: list[int | None] = []
    for widths in subnets:
        around = [
            (macs[place], place)
            for place, other in enumerate(subnets)
            if other not in (widths, full) and lies_in(widths, other)
        ]
        found.append(min(around)[1] if around else None)
    return found


def list_levels(parents: Sequence[int | None]) -> list[list[int]]:
    """Part subnets into levels: those of one need nothing but the level before.

    Args:
        parents: As :func:`find_parents` returns them.
    """
    depths: dict[int | None, int] = {None: -1}

    def depth_of(place: int | None) -> int:
        if place not in depths:
            assert place is not None
            depths[place] = depth_of(parents[place]) + 1
        return depths[place]

    levels: dict[int, list[int]] = {}
    for place in range(len(parents)):
        levels.setdefault(depth_of(place), []).append(place)
    return [levels[depth] for depth in sorted(levels)]


def inherit(supernet: Supernet, parent: FinetunedSubnet) -> Supernet:
    """Return a copy of a supernet that holds a finetuned subnet, its best units first.

    Args:
        supernet: What the subnet was cut from. Left as it was.
        parent: The finetuned subnet.

    Returns:
        A supernet that, no wider than the parent anywhere, is a prefix of the parent.
    """
    heir = copy_supernet(supernet)
    absorb_subnet(heir, parent.widths, parent.module)
    reorder_units(heir, measure_unit_importance(heir, criterion="group_magnitude").by_group())
    return heir
