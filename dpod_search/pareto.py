"""Dominance and hypervolume. Everything in here is minimised.

References:
    While, Bradstreet, Barone: A fast way of calculating exact hypervolumes (WFG), 2012.
    Das: On characterizing the "knee" of the Pareto curve based on normal-boundary
    intersection, 1999 (the knee).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt


FloatArray = npt.NDArray[np.float64]
Direction = Literal["minimize", "maximize"]

_ROUNDING = 1e-9


def to_minimized(values: npt.ArrayLike, directions: Sequence[Direction]) -> FloatArray:
    """Turn the sign of the objectives that are maximised.

    Args:
        values: Shape (n, m), or (m,) for one point.
        directions: ``"minimize"`` or ``"maximize"`` for each of the m objectives.

    Returns:
        A new array of the same shape in which smaller is better everywhere. The map is its
        own inverse.
    """
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    flipped: FloatArray = np.asarray(values, dtype=float) * signs
    return flipped


def is_dominated(point: FloatArray, others: FloatArray) -> bool:
    """Say whether some point of ``others`` is no worse anywhere and better somewhere.

    Args:
        point: Shape (m,), minimised.
        others: Shape (n, m), minimised; n may be 0.
    """
    if len(others) == 0:
        return False
    return bool(np.any(np.all(others <= point, axis=1) & np.any(others < point, axis=1)))


def find_front(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark the points that no other point dominates.

    Args:
        points: Shape (n, m), minimised.

    Returns:
        A mask of shape (n,). Of equal points all are marked.
    """
    if points.ndim == 2 and points.shape[1] == 2:
        return _sort_front(points)
    mask = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        # A dominated point need not be compared with: its dominator dominates for it.
        mask[i] = not is_dominated(point, points[mask])
    return mask


def _sort_front(points: FloatArray) -> npt.NDArray[np.bool_]:
    # Sorted by the first objective, then the second, a point is dominated if any point before
    # it, other than its equals, is as low in the second.
    order = np.lexsort((points[:, 1], points[:, 0]))
    x, y = points[order].T
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    first_equal = np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))
    lowest_before = np.append(np.inf, np.minimum.accumulate(y))[first_equal]
    mask = np.empty(len(points), dtype=bool)
    # Nothing is before the first, also if its second objective is infinite.
    mask[order] = (y < lowest_before) | (first_equal == 0)
    return mask


def compute_hypervolume(points: FloatArray, reference: FloatArray) -> float:
    """Measure the volume that points dominate, up to a reference point.

    Args:
        points: Shape (n, m), minimised.
        reference: Shape (m,). Points that are not better than it in every objective add nothing.

    Returns:
        The exact hypervolume, >= 0. Dominated points and the order do not matter.
    """
    inside = points[np.all(points < reference, axis=1)]
    if len(inside) == 0:
        return 0.0
    front = np.unique(inside[find_front(inside)], axis=0)
    if front.shape[1] == 1:
        return float(reference[0] - front[0, 0])
    if front.shape[1] == 2:
        return _sweep(front, reference)
    return _slice(front[::-1], reference)


def _sweep(front: FloatArray, reference: FloatArray) -> float:
    # Sorted by the first objective, a front of two objectives is a staircase.
    right = np.append(front[1:, 0], reference[0])
    return float(np.sum((right - front[:, 0]) * (reference[1] - front[:, 1])))


def _slice(front: FloatArray, reference: FloatArray) -> float:
    total = 0.0
    for i, point in enumerate(front):
        total += _measure_gain(point, front[i + 1 :], reference)
    return total


def _measure_gain(point: FloatArray, others: FloatArray, reference: FloatArray) -> float:
    # WFG: what a point adds to others is its box less what they cover of that box.
    box = float(np.prod(reference - point))
    return box - compute_hypervolume(np.maximum(others, point), reference)


class GrowingFront:
    """A front that points join one by one, and the hypervolume that it has.

    Args:
        reference: Shape (m,). Points that are not better than it in every objective add nothing.
    """

    def __init__(self, reference: FloatArray) -> None:
        self._reference = reference
        self._points: FloatArray = np.empty((0, len(reference)))
        self._volume = 0.0

    def add(self, point: FloatArray) -> float:
        """Take in a point, shape (m,), minimised; return the exact hypervolume with it."""
        front = self._points
        if np.all(point < self._reference) and not np.any(np.all(front <= point, axis=1)):
            self._volume += _measure_gain(point, front, self._reference)
            self._points = np.vstack([front[~np.all(point <= front, axis=1)], point])
        return self._volume


def find_knee(points: FloatArray) -> int | None:
    """Find the knee of a front of two objectives: beyond it little is gained for much.

    The farthest point from the straight line between the front's two ends, on the better side
    of it (Das 1999, section 2), both objectives stretched over [0, 1] first. It is also where
    the curve of Kneedle (Satopaa and others, 2011) is highest.

    Args:
        points: Shape (n, 2), minimised, n >= 1; in the scale in which differences count.

    Returns:
        Its index, the first of several as far; None if no point is beyond the line, as on a
        front of two points or one that bends the other way.
    """
    spread = np.ptp(points, axis=0)
    if not np.all(spread > 0):
        return None
    # From (0, 1) to (1, 0) the line is x + y = 1.
    gains = 1 - ((points - points.min(axis=0)) / spread).sum(axis=1)
    knee = int(np.argmax(gains > gains.max() - _ROUNDING))
    return knee if gains[knee] > _ROUNDING else None


def select_by_hypervolume(
    points: FloatArray, reference: FloatArray, k: int, *, first: Sequence[int] = ()
) -> list[int]:
    """Choose k points that keep as much hypervolume as greedy choice can.

    Args:
        points: Shape (n, m), minimised.
        reference: Shape (m,).
        k: How many to choose; all are returned if n <= k.
        first: Indices that are chosen whatever they are worth, at most k.

    Returns:
        Indices into ``points``, in the order chosen. Greedy choice keeps at least 1 - 1/e of
        the best k points' volume, hypervolume being submodular.
    """
    chosen = list(first)
    left = [i for i in range(len(points)) if i not in chosen]
    while left and len(chosen) < k:
        volumes = [compute_hypervolume(points[[*chosen, i]], reference) for i in left]
        chosen.append(left.pop(int(np.argmax(volumes))))
    return chosen
