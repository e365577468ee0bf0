"""Subnets as features: the logarithms of their widths and of their exact costs.

Widths and costs act by ratios: from 8 to 16 channels is as far as from 32 to 64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dpod_search.pareto import FloatArray
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.task import SearchTask
from dpod_search.widths import IntArray


# Not every footprint: one that is added later must not change what studies without it decide.
FEATURES = ("macs", "params", "weight_bytes")


class Encoder:
    """Turns rung indices into features.

    Args:
        task: The task; features are the widths, the footprints of :data:`FEATURES`, and those
            that are objectives.
        lattice: The subnets of the task.
    """

    def __init__(self, task: SearchTask, lattice: Lattice) -> None:
        self._lattice = lattice
        wanted = {*FEATURES, *(objective.name for objective in task.objectives)}
        self._costs = [name for name in task.measure_footprint(task.space.full) if name in wanted]

    def encode(
        self, rungs: IntArray, footprints: Mapping[str, FloatArray] | None = None
    ) -> FloatArray:
        """Return features for rows of rung indices.

        Args:
            rungs: Shape (n, n_groups).
            footprints: Their footprints, if they are known already.

        Returns:
            Shape (n, n_features): base-2 logarithms of width ratios, then of costs. A removed
            block has width 0, which counts as half a block.
        """
        ratios = np.maximum(self._lattice.to_active(rungs), 0.5) / self._lattice.full
        found = self._lattice.measure(rungs) if footprints is None else footprints
        costs = np.column_stack([np.empty((len(rungs), 0)), *(found[n] for n in self._costs)])
        return np.hstack([np.log2(ratios), np.log2(np.maximum(costs, 1e-12))])


def choose_columns(features: FloatArray) -> list[int]:
    """Choose the features that say something new about these rows.

    Args:
        features: Standardised, shape (n, n_features).

    Returns:
        The columns that vary and do not repeat an earlier one; at least one. Bytes, for
        instance, are parameters times four: they teach nothing and cost a length scale.
    """
    chosen: list[int] = []
    for i, column in enumerate(features.T):
        seen = any(np.allclose(column, features[:, j], atol=1e-6) for j in chosen)
        if column.std() > 1e-9 and not seen:
            chosen.append(i)
    return chosen or [0]
