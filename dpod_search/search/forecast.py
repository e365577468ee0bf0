"""Two fidelities: what subnets reach after finetuning, learnt from the few that were finetuned.

Accuracy before finetuning is known of every subnet, but good before is not good after it: size is
worth more, and widths that a supernet has not learnt at are worth more than they seem. How much
more depends on the net and on how long it is finetuned, so it is learnt: a linear trend in the
score before, the logarithms of the costs and those of the width ratios, and a smooth rest, each as
strong as the outcomes make likely. Widths together count as much as one of the others, so that a few
outcomes teach something of many groups.

References:
    Kennedy and O'Hagan: Predicting the output from a complex computer code when fast
    approximations are available, Biometrika 2000 (the cheap answer as a feature of the dear one).
    Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, sections 2.7 and 5.4.
    Lei et al.: Distribution-Free Predictive Inference for Regression, 2018 (arXiv 1604.04173).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.special import logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.gaussian_process.kernels import WhiteKernel

from dpod_search.errors import ConfigError
from dpod_search.pareto import FloatArray
from dpod_search.search.plan.surrogate.models import small_numerics


# Fewer outcomes than this say nothing of a trend.
MIN_OUTCOMES = 4
# Shares of right answers are kept this far from 0 and 1, where their logit would be infinite.
_MARGIN = 1e-3
# Of the intervals.
_COVERAGE = 0.8
_N_FOLDS = 5
# Times that all is fitted anew, for what is left out.
_MAX_LEFT_OUT = 20


@dataclass(frozen=True, eq=False)
class Subnets:
    """What is known of n subnets before they are finetuned.

    Args:
        before: Their accuracy, shape (n,), in [0, 1].
        costs: What grows with size, such as macs and params, shape (n, k), > 0.
        widths: Active widths, shape (n, n_groups); 0 for a removed block.
    """

    before: FloatArray
    costs: FloatArray
    widths: FloatArray

    def encode(self) -> FloatArray:
        """Return their features, shape (n, 1 + k + n_groups), each group of them of one weight."""
        logs = np.log2(np.maximum(self.costs, 1e-12))
        ratios = np.log2(np.maximum(self.widths, 0.5))
        columns = [_standardize(_to_logit(self.before)[:, None]), _standardize(logs)]
        return np.hstack([*columns, _standardize(ratios) / np.sqrt(max(1, ratios.shape[1]))])


@dataclass(frozen=True, eq=False)
class Forecast:
    """Accuracy after finetuning, as far as it can be told.

    Args:
        mean: The median of what is expected, shape (n,).
        low: Lower ends of intervals that hold about four times in five, shape (n,).
        high: Their upper ends, shape (n,).
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray


def forecast(subnets: Subnets, tuned: Sequence[int], after: Sequence[float]) -> Forecast:
    """Say what subnets would reach.

    Args:
        subnets: All of them, those that were finetuned among them.
        tuned: The places of those; at least :data:`MIN_OUTCOMES`.
        after: What they reached, in [0, 1].

    Raises:
        ConfigError: If they are too few.
    """
    if len(tuned) < MIN_OUTCOMES:
        raise ConfigError(f"a forecast needs {MIN_OUTCOMES} outcomes, got {len(tuned)}")
    X = subnets.encode()
    y = _to_logit(np.asarray(after, dtype=np.float64))
    center, scale = float(y.mean()), float(y.std()) or 1.0
    known, wanted = X[list(tuned)], (y - center) / scale
    with small_numerics(), warnings.catch_warnings():
        # A strength at the end of its range says that its part does not matter: fine.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mean = _fit(known, wanted).predict(X)
        width = _find_width(known, wanted)
    return Forecast(*(expit(center + scale * (mean + by)) for by in (0.0, -width, width)))


def _fit(X: FloatArray, y: FloatArray) -> Any:
    kernel = (
        ConstantKernel(1.0, (1e-3, 1e2)) * DotProduct(1.0, "fixed")
        + ConstantKernel(0.1, (1e-3, 1e2)) * RBF(3.0, (1.0, 1e2))
        + WhiteKernel(0.05, (1e-3, 1.0))
    )
    return GaussianProcessRegressor(kernel).fit(X, y)


def _find_width(X: FloatArray, y: FloatArray) -> float:
    """Return by how much the model is off on what it has not seen.

    Its own deviations were too small for that: of twenty outcomes its strengths fit some by chance.

    Returns:
        The :data:`_COVERAGE` quantile (Lei et al., 2018, section 2.2), of five folds.
    """
    fold, misses = np.arange(len(y)) % _N_FOLDS, np.empty(len(y))
    for i in range(min(_N_FOLDS, len(y))):
        misses[fold == i] = np.abs(
            y[fold == i] - _fit(X[fold != i], y[fold != i]).predict(X[fold == i])
        )
    rank = min(len(y), math.ceil((len(y) + 1) * _COVERAGE))
    return float(np.sort(misses)[rank - 1])


def forecast_each(subnets: Subnets, after: Sequence[float]) -> Forecast:
    """Say of each of several finetuned subnets what the others let expect.

    Of more than :data:`_MAX_LEFT_OUT`, several are left out at once.

    Args:
        subnets: What was finetuned; one more at least than a forecast needs.
        after: What they reached.

    Raises:
        ConfigError: If they are too few.
    """
    n = len(subnets.before)
    left = np.arange(n) % _MAX_LEFT_OUT
    found = np.empty((3, n))
    for fold in range(min(n, _MAX_LEFT_OUT)):
        rest = np.flatnonzero(left != fold).tolist()
        told = forecast(subnets, rest, [after[place] for place in rest])
        found[:, left == fold] = np.array([told.mean, told.low, told.high])[:, left == fold]
    return Forecast(*found)


def _to_logit(shares: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(shares, _MARGIN, 1 - _MARGIN)))


def _standardize(columns: FloatArray) -> FloatArray:
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
