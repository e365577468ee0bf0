"""By how much a point would raise the hypervolume of a front, and which points together most.

Two objectives are computed exactly; from three on, the volume is sampled: the exact one costs
more than all the rest of a search.

References:
    Emmerich, Deutz, Klinkenberg: Hypervolume-Based Expected Improvement: Monotonicity
    Properties and Exact Computation, 2011 (the staircase of two objectives).
    Bader, Zitzler: HypE: An Algorithm for Fast Hypervolume-Based Many-Objective
    Optimization, 2011 (sampling the volume).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import qmc

from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_front


N_SAMPLES = 2**13


class Volume(Protocol):
    """The volume that a front leaves undominated below a reference point. All is minimised."""

    def measure(self, points: FloatArray, /) -> FloatArray:
        """Return the volume that each of n points would add by itself; shape (n,)."""

    def include(self, point: FloatArray, /) -> None:
        """Take a point into the front."""


class Staircase:
    """The exact volume for one objective or two.

    Args:
        front: Shape (n, m), m being 1 or 2; n may be 0.
        reference: Shape (m,); points beyond it add nothing.
    """

    def __init__(self, front: FloatArray, reference: FloatArray) -> None:
        # One objective is two, the other of them being the same for all points.
        self._is_flat = len(reference) == 1
        self._reference = np.append(reference, 1.0) if self._is_flat else reference
        inside = self._widen(front)
        inside = inside[np.all(inside < self._reference, axis=1)]
        self._set(np.unique(inside[find_front(inside)], axis=0))

    def _widen(self, points: FloatArray) -> FloatArray:
        return np.column_stack([points, np.zeros(len(points))]) if self._is_flat else points

    def _set(self, front: FloatArray) -> None:
        # Ascending in the first objective, hence descending in the second.
        self._left = np.append(-np.inf, front[:, 0])
        self._right = np.append(front[:, 0], self._reference[0])
        self._ceiling = np.append(self._reference[1], front[:, 1])
        self._front = front

    def measure(self, points: FloatArray) -> FloatArray:
        """Return the volume that each of n points would add by itself; shape (n,)."""
        x, y = self._widen(points).T[:, :, None]
        widths = np.maximum(self._right - np.maximum(self._left, x), 0)
        heights = np.maximum(self._ceiling - y, 0)
        return np.asarray((widths * heights).sum(axis=1))

    def include(self, point: FloatArray) -> None:
        """Take a point into the front."""
        point = self._widen(point[None])[0]
        stays = ~np.all(self._front >= point, axis=1)
        if np.all(point < self._reference) and not np.any(np.all(self._front <= point, axis=1)):
            front = self._front[stays]
            self._set(np.insert(front, np.searchsorted(front[:, 0], point[0]), point, axis=0))


class SampledVolume:
    """The volume of any number of objectives, as a share of a box, from a fixed set of samples.

    Args:
        front: Shape (n, m); n may be 0.
        reference: Shape (m,), one corner of the box.
        ideal: Shape (m,), the opposite one: no point is better anywhere.
        seed: Of the samples.
    """

    def __init__(
        self, front: FloatArray, reference: FloatArray, ideal: FloatArray, seed: int
    ) -> None:
        unit = qmc.Sobol(len(reference), rng=np.random.default_rng(seed)).random(N_SAMPLES)
        # One row an objective: comparing whole rows is ten times quicker than point by point.
        self._samples = np.ascontiguousarray((ideal + unit * (reference - ideal)).T)
        for point in front:
            self.include(point)

    def measure(self, points: FloatArray) -> FloatArray:
        """Return the share of the box that each of n points would add by itself; shape (n,)."""
        hits = [np.count_nonzero(self._find_beyond(point)) for point in points]
        return np.array(hits, dtype=float) / N_SAMPLES

    def include(self, point: FloatArray) -> None:
        """Take a point into the front."""
        self._samples = self._samples[:, ~self._find_beyond(point)]

    def _find_beyond(self, point: FloatArray) -> npt.NDArray[np.bool_]:
        beyond = self._samples[0] >= point[0]
        for row, value in zip(self._samples[1:], point[1:], strict=True):
            beyond &= row >= value
        return np.asarray(beyond)


def make_volume(
    front: FloatArray, reference: FloatArray, ideal: FloatArray, *, seed: int = 0
) -> Volume:
    """Return the volume that a front leaves, exact up to two objectives.

    Args:
        front: Shape (n, m), minimised.
        reference: Shape (m,): the worst that counts.
        ideal: Shape (m,): nothing is better anywhere. Only more than two objectives need it.
        seed: Of what is sampled then.
    """
    if len(reference) <= 2:
        return Staircase(front, reference)
    return SampledVolume(front, reference, ideal, seed)


def pick_points(
    outcomes: FloatArray,
    weights: FloatArray,
    expected: FloatArray,
    volume: Volume,
    *,
    n: int,
    accept: Callable[[int], bool] = lambda i: True,
) -> list[int]:
    """Pick points one by one, each for the volume it is expected to add to those before.

    Args:
        outcomes: What each of k points may turn out to be; shape (s, k, m), minimised.
        weights: Probability of each outcome, shape (s,).
        expected: What a point is taken to be once it is picked; shape (k, m), minimised.
        volume: What the front leaves; it is used up.
        n: How many to pick.
        accept: Asked before a point is picked.

    Returns:
        Indices of at most n points, in the order picked. Fewer if the others add nothing.
    """
    gains = weights @ np.stack([volume.measure(outcome) for outcome in outcomes])
    is_current = np.ones(len(gains), dtype=bool)
    picked: list[int] = []
    while len(picked) < n and len(gains):
        best = int(np.argmax(gains))
        if not gains[best] > 0:
            break
        if not is_current[best]:
            # Gains only fall as the front grows, so an old one is a bound: only the best of
            # the bounds has to be computed again (Minoux's lazy greedy choice).
            gains[best] = float(weights @ volume.measure(outcomes[:, best]))
            is_current[best] = True
            continue
        gains[best] = 0.0
        if accept(best):
            picked.append(best)
            volume.include(expected[best])
            is_current[:] = False
    return picked


def make_outcomes(n_unsure: int) -> tuple[FloatArray, FloatArray]:
    """Return what k independent standard normal numbers may turn out to be.

    Args:
        n_unsure: k; 0 is one sure outcome.

    Returns:
        Numbers of shape (s, k), positive being better, and probabilities of shape (s,).
    """
    if n_unsure == 0:
        return np.zeros((1, 0)), np.ones(1)
    if n_unsure == 1:
        # Improvements come from the upper tail, where a quadrature on a grid is most accurate.
        nodes = np.arange(-2.0, 3.25, 0.5)
        weights = np.exp(-0.5 * nodes**2)
        return nodes[:, None], weights / weights.sum()
    uniform = qmc.Sobol(n_unsure, rng=np.random.default_rng(0)).random(2**5)
    return norm.ppf(np.clip(uniform, 1e-3, 1 - 1e-3)), np.full(2**5, 2.0**-5)
