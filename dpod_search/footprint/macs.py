"""Multiply-accumulates per sample. One fused multiply-add counts as 1.

Convolutions, linear layers and products of two tensors (attention) are counted; norms, activations, additions and pooling are not,
as is usual. Operations whose macs have no closed form are listed in ``Grouping.uncounted``.
"""

from __future__ import annotations

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_macs(sizes: LayerSizes) -> FloatArray:
    """Count multiply-accumulates per sample, shape (n,)."""
    return np.asarray(sizes.weight_numel @ sizes.n_positions + sizes.products.sum(axis=1))
