"""Importance by magnitude: units whose weights are small matter little.

Reference: Li et al.: Pruning Filters for Efficient ConvNets, 2017 (arXiv 1608.08710); the
Euclidean norm here, as global magnitude pruning has it (Han et al., 2015, arXiv 1506.02626).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dpod_search.data.loader import Batches
from dpod_search.importance.makers import Loss
from dpod_search.importance.makers import add_units
from dpod_search.importance.makers import find_makers
from dpod_search.importance.makers import sum_along
from dpod_search.importance.units import LayerScores
from dpod_search.supernet import Supernet


@torch.no_grad()
def score_magnitude(supernet: Supernet, batches: Batches, loss: Loss) -> Sequence[LayerScores]:
    """Score units by the Euclidean norm of the weights and biases that make them.

    Args:
        supernet: Not run.
        batches: Not looked at.
        loss: Not asked.
    """
    del batches, loss
    makers = find_makers(supernet)
    vectors = {
        part.key: sum_along(supernet.net.get_parameter(part.parameter).square(), part.axis)
        for maker in makers
        for part in maker.parts
    }
    return [
        LayerScores(maker.name, group, np.sqrt(squares), maker.blocks)
        for maker in makers
        for group in maker.groups
        for squares in [add_units(maker, group, vectors, supernet.groups[group].full_width)]
    ]
