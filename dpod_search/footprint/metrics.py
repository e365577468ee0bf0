"""What a footprint is, metric by metric.

macs: multiply-accumulates per sample; one fused multiply-add counts as 1. Convolutions, linear layers and products of two tensors
(attention) are counted; norms, activations, additions and pooling are not, as is usual. Operations whose macs have no closed form are
listed in ``Grouping.uncounted``.

params: everything that is learnt, BatchNorm's scale and shift included.

weight_bytes: what a device must store: parameters and floating-point buffers (BatchNorm statistics).

peak_bytes: the most bytes of activations that are held at once per sample. Liveness over the traced graph, in inference; weights are
not in it. See ``activations.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_macs(sizes: LayerSizes) -> FloatArray:
    """Count multiply-accumulates per sample, shape (n,)."""
    return np.asarray(sizes.weight_numel @ sizes.n_positions + sizes.products.sum(axis=1))


def count_params(sizes: LayerSizes) -> FloatArray:
    """Count parameters, shape (n,)."""
    vectors = sizes.outputs @ sizes.n_vectors
    own = sizes.parameters.sum(axis=1)
    return np.asarray(sizes.weight_numel.sum(axis=1) + vectors + own)


def count_weight_bytes(sizes: LayerSizes) -> FloatArray:
    """Count stored bytes in the dtype of the model, shape (n,)."""
    vectors = sizes.outputs * (sizes.n_vectors + sizes.n_statistics)
    own = sizes.parameters @ sizes.parameter_itemsize + sizes.buffer_bytes.sum(axis=1)
    return np.asarray((sizes.weight_numel + vectors) @ sizes.itemsize + own)


def count_peak_bytes(sizes: LayerSizes) -> FloatArray:
    """Count the bytes of the largest set of activations held at once, shape (n,)."""
    return sizes.peak_activation_bytes


METRICS: dict[str, Callable[[LayerSizes], FloatArray]] = {
    "macs": count_macs,
    "params": count_params,
    "weight_bytes": count_weight_bytes,
    "peak_bytes": count_peak_bytes,
}
