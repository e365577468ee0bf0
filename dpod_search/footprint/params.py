"""Number of parameters: everything that is learnt, BatchNorm's scale and shift included."""

from __future__ import annotations

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_params(sizes: LayerSizes) -> FloatArray:
    """Count parameters, shape (n,)."""
    vectors = sizes.outputs @ sizes.n_vectors
    own = sizes.parameters.sum(axis=1)
    return np.asarray(sizes.weight_numel.sum(axis=1) + vectors + own)
