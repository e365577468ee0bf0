"""How the front grows: its hypervolume after each evaluated subnet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpod_search.pareto import FloatArray
from dpod_search.pareto import GrowingFront
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History


MARGIN = 0.1  # of the extent of each objective, so that its worst value counts for something


class VolumeTrace:
    """Hypervolumes up to a little beyond the worst values that any evaluated subnet had so far.

    Args:
        is_logarithmic: For each objective, whether ratios of its values count and not
            differences, as for what a subnet costs.
    """

    def __init__(self, is_logarithmic: Sequence[bool]) -> None:
        self._is_logarithmic = np.array(is_logarithmic)
        self._points: list[FloatArray] = []
        self._best: FloatArray = np.full(len(is_logarithmic), np.inf)
        self._worst: FloatArray = np.full(len(is_logarithmic), -np.inf)
        self._reference: FloatArray = self._worst
        self._front = GrowingFront(self._reference)
        self._volumes: list[float] = []

    def extend(self, history: History) -> Sequence[float]:
        """Take in what has been measured since the last call; return all hypervolumes."""
        fresh = [self._place(trial, history) for trial in history.measured[len(self._points) :]]
        self._points += fresh
        finite = [point for point in fresh if np.all(np.isfinite(point))]
        self._best = np.min([self._best, *finite], axis=0)
        self._worst = np.max([self._worst, *finite], axis=0)
        extent = self._worst - self._best
        reference = self._worst + MARGIN * np.where(extent > 0, extent, 1.0)
        if not np.array_equal(reference, self._reference):
            # A value beyond all before moves the reference point, and all volumes with it.
            self._reference, self._volumes = reference, []
            self._front = GrowingFront(reference)
            fresh = self._points
        self._volumes += map(self._front.add, fresh)
        return self._volumes

    def _place(self, trial: FinishedTrial, history: History) -> FloatArray:
        assert trial.values is not None
        point = history.minimize(trial.values)
        if trial.violation > 0:
            return np.full_like(point, np.inf)  # it is not on the front, whatever it reaches
        is_log = self._is_logarithmic & (point > 0)
        return np.where(is_log, np.log(np.where(is_log, point, 1.0)), point)
