"""The regressors a surrogate chooses from: each predicts a mean and says how unsure it is.

A new one is a class here and a line in the registry.

References:
    Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, sections 2.2 and 5.1.
    MacKay: Bayesian Interpolation, 1992 (the ridge, its strength found from the data).
    Geurts, Ernst, Wehenkel: Extremely Randomized Trees, 2006.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cache
from functools import partial
from types import MappingProxyType
from typing import Any
from typing import Protocol

import numpy as np
import sklearn
from scipy.optimize import minimize
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import Matern
from sklearn.gaussian_process.kernels import WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import PolynomialFeatures
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from dpod_search.pareto import FloatArray


# Tuning costs the cube of the points at every step, and length scales need not be exact.
MAX_TUNED = 150
MAX_STEPS = 25
MAX_TERMS = 400
N_TREES = 32


# From features of shape (n, n_features) to mean and standard deviation, shape (n,) each.
Predictor = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


class Model(Protocol):
    """A regressor on standardised features and targets."""

    def tune(self, X: FloatArray, y: FloatArray, /) -> None:
        """Find what is costly to find, and keep it for later fits."""

    def fit(self, X: FloatArray, y: FloatArray, /) -> Predictor:
        """Learn from features of shape (n, n_features) and targets of shape (n,)."""


class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel, one length scale a feature.

    Args:
        seed: Of the points that it is tuned on if there are too many.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._kernel: Any = None

    def tune(self, X: FloatArray, y: FloatArray) -> None:
        """Maximise the marginal likelihood (Rasmussen 2006, equation 5.8)."""
        if len(X) > MAX_TUNED:
            rng = np.random.default_rng(self._seed)
            chosen = np.sort(rng.choice(len(X), MAX_TUNED, replace=False))
            X, y = X[chosen], y[chosen]
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(
            np.full(X.shape[1], 3.0), (0.2, 100.0), nu=2.5
        ) + WhiteKernel(1e-2, (1e-6, 1.0))
        self._kernel = self._fit(X, y, kernel, _climb).kernel_

    def fit(self, X: FloatArray, y: FloatArray) -> Predictor:
        """Condition the process on the points, with the kernel that was tuned."""
        return partial(self._fit(X, y, self._kernel, None).predict, return_std=True)

    def _fit(self, X: FloatArray, y: FloatArray, kernel: Any, optimizer: Any) -> Any:
        regressor = GaussianProcessRegressor(kernel, optimizer=optimizer)
        with warnings.catch_warnings():
            # A length scale at its upper bound says that a group does not matter: fine.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return regressor.fit(X, y)


class QuadraticRidge:
    """A Bayesian ridge on features, squares and, while there are not too many, products.

    Args:
        seed: Not used: nothing is random.
    """

    def __init__(self, seed: int = 0) -> None:
        self._expand: Callable[[FloatArray], FloatArray] = _square

    def tune(self, X: FloatArray, y: FloatArray) -> None:
        """Decide whether products fit."""
        d = X.shape[1]
        self._expand = _multiply if d * (d + 3) / 2 <= MAX_TERMS else _square

    def fit(self, X: FloatArray, y: FloatArray) -> Predictor:
        """Solve for the coefficients."""
        expand, regressor = self._expand, BayesianRidge().fit(self._expand(X), y)

        def predict(X: FloatArray) -> tuple[FloatArray, FloatArray]:
            mean, std = regressor.predict(expand(X), return_std=True)
            return mean, std

        return predict


class Forest:
    """Extremely randomised trees, unsure where they disagree.

    Args:
        seed: Of the trees.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def tune(self, X: FloatArray, y: FloatArray) -> None:
        """Nothing has to be tuned."""

    def fit(self, X: FloatArray, y: FloatArray) -> Predictor:
        """Grow the trees."""
        forest = ExtraTreesRegressor(
            N_TREES, min_samples_leaf=2, max_features=0.5, random_state=self._seed, n_jobs=1
        ).fit(X, y)
        # Where all trees agree they may still all be wrong.
        floor = 0.05 * float(np.std(y)) + 1e-3

        def predict(X: FloatArray) -> tuple[FloatArray, FloatArray]:
            each = np.array([tree.predict(X) for tree in forest.estimators_])
            return each.mean(axis=0), np.hypot(each.std(axis=0), floor)

        return predict


MODELS: Mapping[str, Callable[[int], Model]] = MappingProxyType(
    {"gaussian process": GaussianProcess, "ridge": QuadraticRidge, "extra trees": Forest}
)


def _square(X: FloatArray) -> FloatArray:
    return np.hstack([X, X**2])


def _multiply(X: FloatArray) -> FloatArray:
    return np.asarray(PolynomialFeatures(2, include_bias=False).fit_transform(X))


def _climb(objective: Any, start: FloatArray, bounds: FloatArray) -> tuple[FloatArray, float]:
    options = {"maxiter": MAX_STEPS}
    found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options=options)
    return found.x, float(found.fun)


@contextmanager
def small_numerics() -> Iterator[None]:
    """Compute on one thread, and do not check the arguments of scikit-learn, inside the block.

    Matrices this small gain nothing from more threads, and the last bit of a sum must not depend
    on how many cores a machine has. The checks would take longer than the work.
    """
    with (
        _find_libraries().limit(limits=1),
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        yield


@cache
def _find_libraries() -> ThreadpoolController:
    # Finding the libraries takes milliseconds each time, and they do not change any more.
    return ThreadpoolController()
