"""Multiply-accumulates per sample. One fused multiply-add counts as 1.

Convolutions and linear layers are counted; norms, activations, additions and pooling are not,
as is usual. Operations whose macs have no closed form are listed in ``Grouping.uncounted``.
"""

from __future__ import annotations

import numpy as np

from dpod_search.footprint.sizes import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_macs(sizes: LayerSizes) -> FloatArray:
    """Count multiply-accumulates per sample, shape (n,)."""
    return np.asarray(sizes.weight_numel @ sizes.n_positions)
