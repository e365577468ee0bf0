"""Many subnets at once, as arrays of rung indices: what the search does its arithmetic on.

A row holds one rung index for each channel group, 0 being the narrowest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dpod_search.pareto import FloatArray
from dpod_search.search.objectives import call_objective
from dpod_search.search.objectives import to_number
from dpod_search.search.task import SearchTask
from dpod_search.widths import IntArray
from dpod_search.widths import Widths


class Lattice:
    """The subnets of a task's space as points of an integer lattice.

    Args:
        task: The task; its space says which rungs there are.
    """

    def __init__(self, task: SearchTask) -> None:
        self._task = task
        space = task.space
        self.sizes: IntArray = np.array(space.n_rungs, dtype=np.int64)
        self.full: IntArray = np.array(space.full.active, dtype=np.int64)
        self._widths = np.zeros((len(self.sizes), max(space.n_rungs, default=1)), dtype=np.int64)
        for row, rungs in zip(self._widths, space.rungs, strict=True):
            row[: len(rungs)] = rungs
        self._groups = np.arange(len(self.sizes))

    def to_active(self, rungs: IntArray) -> IntArray:
        """Return active widths for rung indices; both of shape (n, n_groups)."""
        return np.asarray(self._widths[self._groups, rungs])

    def to_widths(self, rungs: IntArray) -> Widths:
        """Return one row of rung indices as widths."""
        return self._task.space.from_rungs(rungs)

    def from_widths(self, widths: Sequence[Widths]) -> IntArray:
        """Return widths as rung indices of shape (n, n_groups)."""
        rows = [self._task.space.to_rungs(w) for w in widths]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.sizes))

    def canonicalize(self, rungs: IntArray) -> IntArray:
        """Give rows that are the same subnet, a removed block hiding the rest, the same rungs."""
        return self._task.space.canonical_rungs(rungs)

    def measure(self, rungs: IntArray) -> dict[str, FloatArray]:
        """Return all footprints, shape (n,) each: the model's, then a user's own objectives."""
        active = self.to_active(rungs)
        table = getattr(self._task.footprint, "table", None)
        own = [o for o in self._task.objectives if not o.is_measured and o.function is not None]
        many = [] if table is not None and not own else [self.to_widths(row) for row in rungs]
        if table is not None:
            found = {name: np.asarray(column, float) for name, column in table(active).items()}
        else:
            measured = [self._task.footprint.measure(widths) for widths in many]
            names = self._task.footprint_names
            found = {name: np.array([float(m[name]) for m in measured]) for name in names}
        for objective in own:
            values = [to_number(call_objective(objective, w, w), objective.name) for w in many]
            found[objective.name] = np.array(values, dtype=float)
        return found

    def are_feasible(self, rungs: IntArray) -> npt.NDArray[np.bool_]:
        """Say which rows are within every bound that is known beforehand; shape (n,)."""
        bounds = self._task.bounds.exact.bounds
        if not bounds or not len(rungs):
            return np.ones(len(rungs), dtype=bool)
        footprints = self.measure(rungs)
        met = [bound.is_met(footprints[bound.name]) for bound in bounds]
        return np.asarray(np.all(met, axis=0))
