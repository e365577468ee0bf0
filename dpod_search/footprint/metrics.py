"""What a footprint is: each metric once, as sums of products of sizes.

The arrays of a search (``model.py``) and the tables of a width program (``tabulating.py``) are both
made of these. A new metric is a function here, or anywhere, and its line in ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from dpod_search.footprint.activations import find_moments
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.footprint.stored import list_stored
from dpod_search.footprint.stored import weigh
from dpod_search.footprint.stored import weigh_matrix
from dpod_search.supernet import Supernet


@dataclass(frozen=True)
class Largest:
    """A metric that is the largest of some sums.

    Args:
        sums: The terms of each, none of which is ever negative.
    """

    sums: Sequence[Sequence[Term]]


# The terms of the sum that a metric is, or those of the sums of which it is the largest.
Metric = Callable[[Supernet], Sequence[Term] | Largest]


def sum_macs(supernet: Supernet) -> list[Term]:
    """Sum up multiply-accumulates per sample. One fused multiply-add counts as 1.

    Convolutions, linear and recurrent layers and products of two tensors (attention) are counted;
    norms, activations, gates, additions and pooling are not, as is usual. Operations whose macs have no closed
    form are listed in ``Grouping.uncounted``.
    """
    grouping = supernet.grouping
    return [
        *(Term(p.constant / p.batch_size, p.factors, all_of(p.blocks)) for p in grouping.products),
        *(weigh(plan).scale(plan.n_positions) for plan in grouping.layers),
        *(
            weigh_matrix(matrix, plan).scale(matrix.n_positions)
            for plan in grouping.layers
            for matrix in plan.matrices
        ),
    ]


def sum_params(supernet: Supernet) -> list[Term]:
    """Sum up everything that is learnt, BatchNorm's scale and shift included."""
    return [stored.term for stored in list_stored(supernet) if stored.is_learnt]


def sum_weight_bytes(supernet: Supernet) -> list[Term]:
    """Sum up the bytes that a device must store, in the dtype of the model.

    Parameters and floating-point buffers (BatchNorm statistics).
    """
    return [stored.term.scale(stored.itemsize) for stored in list_stored(supernet)]


def find_peak_bytes(supernet: Supernet) -> Largest:
    """Find the most bytes of activations that are held at once per sample.

    In inference; weights are not in it.
    """
    return Largest(find_moments(supernet.grouping))


METRICS: dict[str, Metric] = {
    "macs": sum_macs,
    "params": sum_params,
    "weight_bytes": sum_weight_bytes,
    "peak_bytes": find_peak_bytes,
}
