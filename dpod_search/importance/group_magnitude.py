"""Importance by the magnitude of a group: all weights that go when a unit goes, the readers' too.

Reference: Fang et al.: DepGraph: Towards Any Structural Pruning, CVPR 2023 (arXiv 2301.12900):
magnitudes summed over all layers that are coupled; squares here, as in Torch-Pruning's default.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpod_search.data.loader import Batches
from dpod_search.importance.makers import Loss
from dpod_search.importance.makers import Maker
from dpod_search.importance.makers import UnitAxis
from dpod_search.importance.makers import add_units
from dpod_search.importance.makers import sum_along
from dpod_search.importance.units import LayerScores
from dpod_search.supernet import Supernet
from dpod_search.supernet import groups_of
from dpod_search.supernet import plan_weights


@torch.no_grad()
def score_group_magnitude(
    supernet: Supernet, batches: Batches, loss: Loss
) -> Sequence[LayerScores]:
    """Score units by the squares of the weights that make them and of those that read them.

    Args:
        supernet: Not run.
        batches: Not looked at.
        loss: Not asked.
    """
    del batches, loss
    found = []
    for plan in plan_weights(supernet):
        squares = supernet.net.get_parameter(plan.name).square()
        for axis, layout in enumerate(plan.axes):
            part = UnitAxis(plan.name, axis, layout)
            owner = Maker(plan.name, plan.blocks, groups_of(layout), (part,))
            vectors = {part.key: sum_along(squares, axis)} if owner.groups else {}
            found += [
                LayerScores(plan.name, group, units, plan.blocks)
                for group in owner.groups
                for units in [add_units(owner, group, vectors, supernet.groups[group].full_width)]
            ]
    return found
