"""A Gaussian process that predicts measured objectives from widths and footprints.

Its intervals are calibrated rather than believed: cross-validation tells by how many
predicted standard deviations the process is wrong, and that quantile scales them.

References:
    Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, section 2.2 and 5.1.
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman: Distribution-Free Predictive Inference for
    Regression, 2018, section 5.2 (locally weighted conformal), arXiv 1604.04173.
    Vovk: Cross-conformal predictors, 2015, arXiv 1208.0806.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import Kernel
from sklearn.gaussian_process.kernels import Matern
from sklearn.gaussian_process.kernels import WhiteKernel
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_front
from dpod_search.rng import derive_seed
from dpod_search.search.history import FinishedTrial
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


MAX_POINTS = 200
N_FOLDS = 5
# Hyperparameters need not be exact, and every step costs O(n^3).
MAX_STEPS = 40
# Not every footprint: one that is added later must not change what studies without it decide.
FEATURES = ("macs", "params", "weight_bytes")


@dataclass(frozen=True)
class Prediction:
    """Predicted values of the measured objectives and their calibrated intervals.

    Args:
        mean: Shape (n, k), in the units of the objectives.
        low: Lower ends, shape (n, k).
        high: Upper ends, shape (n, k).
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray


class Surrogate:
    """Predicts the measured objectives of a task.

    Args:
        task: The task; features are the widths, the footprints of :data:`FEATURES`, and those
            that are objectives.
        trials: The evaluated trials to learn from; at least ten.
        confidence: Coverage of the intervals, in (0, 1).
    """

    def __init__(
        self, task: SearchTask, trials: Sequence[FinishedTrial], *, confidence: float
    ) -> None:
        self._task = task
        wanted = {*FEATURES, *(objective.name for objective in task.objectives)}
        self._costs = [name for name in task.measure_footprint(task.space.full) if name in wanted]
        features = self._encode([trial.widths for trial in trials])
        self._mean = features.mean(axis=0)
        self._scale = features.std(axis=0)
        self._columns = _choose_columns(
            (features - self._mean) / np.where(self._scale, self._scale, 1)
        )
        columns = [i for i, o in enumerate(task.objectives) if o.is_measured]
        targets = np.array(
            [[trial.values[i] for i in columns] for trial in trials if trial.values]
        )
        X = self._standardize(features)
        # One thread: matrices this small gain nothing from more, and the last bit of a sum
        # must not depend on how many cores a machine has.
        with threadpool_limits(1):
            self._processes = [
                _Process(
                    X, y, confidence, derive_seed(task.seed, "surrogate", len(trials), i) % 2**32
                )
                for i, y in enumerate(targets.T)
            ]

    def predict(self, widths: Sequence[Widths]) -> Prediction:
        """Predict subnets.

        Args:
            widths: The n subnets.

        Returns:
            Mean and interval for each of the k measured objectives, in their order.
        """
        X = self._standardize(self._encode(widths))
        with threadpool_limits(1):
            columns = [process.predict(X) for process in self._processes]
        mean = np.column_stack([column[0] for column in columns])
        radius = np.column_stack([column[1] for column in columns])
        return Prediction(mean, mean - radius, mean + radius)

    def _encode(self, widths: Sequence[Widths]) -> FloatArray:
        full = np.array(self._task.space.full.active)
        # A removed block has width 0, which counts as half a block.
        ratios = np.maximum(np.array([w.active for w in widths]), 0.5) / full
        measured = [self._task.measure_footprint(w) for w in widths]
        costs = np.array([[footprint[name] for name in self._costs] for footprint in measured])
        return np.hstack([np.log2(ratios), np.log2(np.maximum(costs, 1e-12))])

    def _standardize(self, features: FloatArray) -> FloatArray:
        columns = self._columns
        return np.asarray((features[:, columns] - self._mean[columns]) / self._scale[columns])


class _Process:
    """One Gaussian process and the factor that makes its intervals honest."""

    def __init__(self, X: FloatArray, y: FloatArray, confidence: float, seed: int) -> None:
        self._mean = float(y.mean())
        self._scale = float(y.std()) or 1.0
        target = (y - self._mean) / self._scale
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(
            np.full(X.shape[1], 3.0), (0.2, 100.0), nu=2.5
        ) + WhiteKernel(1e-2, (1e-6, 1.0))
        self._regressor = _fit(X, target, kernel, seed, optimizer=_climb)
        residuals = _cross_validate(X, target, self._regressor.kernel_, seed)
        self._factor = _conformal_quantile(residuals, confidence)

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean, std = self._regressor.predict(X, return_std=True)
        return self._mean + self._scale * mean, self._factor * self._scale * std


def choose_points(
    trials: Sequence[FinishedTrial], minimized: FloatArray, max_points: int = MAX_POINTS
) -> list[FinishedTrial]:
    """Choose what to learn from when there is too much: the front, and the most recent.

    Args:
        trials: Evaluated trials in the order they finished.
        minimized: Their objective values, minimised; shape (n, m).
        max_points: Largest number to keep; fitting costs its cube.

    Returns:
        At most ``max_points`` of the trials, in the same order. The choice depends on the
        trials alone.
    """
    if len(trials) <= max_points:
        return list(trials)
    front = find_front(minimized)
    # Front first, recent before old: a stable sort by (not on the front), from the end.
    order = sorted(range(len(trials)), key=lambda i: (not front[i], -i))[:max_points]
    return [trials[i] for i in sorted(order)]


def _choose_columns(features: FloatArray) -> list[int]:
    # A feature that never changes teaches nothing, and one that repeats another (bytes are
    # parameters times four) only costs a length scale.
    chosen: list[int] = []
    for i, column in enumerate(features.T):
        seen = any(np.allclose(column, features[:, j], atol=1e-6) for j in chosen)
        if column.std() > 1e-9 and not seen:
            chosen.append(i)
    return chosen or [0]


def _fit(X: FloatArray, y: FloatArray, kernel: Kernel, seed: int, optimizer: Any) -> Any:
    regressor = GaussianProcessRegressor(kernel, optimizer=optimizer, random_state=seed)
    with warnings.catch_warnings():
        # A length scale at its upper bound says that a group does not matter, which is fine.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regressor.fit(X, y)


def _climb(objective: Any, start: FloatArray, bounds: FloatArray) -> tuple[FloatArray, float]:
    found = minimize(
        objective,
        start,
        method="L-BFGS-B",
        jac=True,
        bounds=bounds,
        options={"maxiter": MAX_STEPS},
    )
    return found.x, float(found.fun)


def _cross_validate(X: FloatArray, y: FloatArray, kernel: Kernel, seed: int) -> FloatArray:
    # The hyperparameters stay those of the whole fit: only the conditioning is left out.
    fold = np.arange(len(y)) % N_FOLDS
    residuals = np.empty(len(y))
    for i in range(N_FOLDS):
        rest = _fit(X[fold != i], y[fold != i], kernel, seed, optimizer=None)
        mean, std = rest.predict(X[fold == i], return_std=True)
        residuals[fold == i] = np.abs(y[fold == i] - mean) / std
    return residuals


def _conformal_quantile(residuals: FloatArray, confidence: float) -> float:
    # Lei et al. (2018), section 5.2: the ceil((n + 1) * confidence)-th smallest of n scores.
    rank = min(len(residuals), math.ceil((len(residuals) + 1) * confidence))
    return float(np.sort(residuals)[rank - 1])
