"""Peak activation memory per sample: the most bytes of activations that are held at once.

Liveness over the traced graph, in inference; weights are not in it. See ``activations.py``.
"""

from __future__ import annotations

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.sizes import LayerSizes


def count_peak_bytes(sizes: LayerSizes) -> FloatArray:
    """Count the bytes of the largest set of activations held at once, shape (n,)."""
    return sizes.peak_activation_bytes
