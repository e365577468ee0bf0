"""Bytes a device must store: parameters and floating-point buffers (BatchNorm statistics)."""

from __future__ import annotations

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_weight_bytes(sizes: LayerSizes) -> FloatArray:
    """Count stored bytes in the dtype of the model, shape (n,)."""
    vectors = sizes.outputs * (sizes.n_vectors + sizes.n_statistics)
    own = sizes.parameters @ sizes.parameter_itemsize + sizes.buffer_bytes.sum(axis=1)
    return np.asarray((sizes.weight_numel + vectors) @ sizes.itemsize + own)
