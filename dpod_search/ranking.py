"""How well predicted qualities rank networks: Kendall's tau and top-k recall, with intervals.

Everything in here is larger-is-better. Intervals are percentile bootstraps over the networks: they
say how far the figure would move with other networks of the same kind, not with another training.

References:
    Kendall: The treatment of ties in ranking problems, 1945 (tau-b).
    Efron and Tibshirani: An introduction to the bootstrap, 1993, section 13.3 (percentiles).
    Yu et al.: Evaluating the search phase of neural architecture search, 2020 (arXiv 1902.08142):
    tau of a supernet's accuracies against those of networks trained alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import check_count
from dpod_search.errors import check_range


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankingScore:
    """How well a ranking was predicted.

    Args:
        value: Of all networks.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Networks that were ranked.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class BandScore(RankingScore):
    """How well networks of similar cost were ranked.

    Args:
        least: Smallest cost among them.
        most: Largest cost among them.
    """

    least: float
    most: float


@dataclass(frozen=True)
class BootstrapSettings:
    """How the interval of a score is found.

    Args:
        n_resamples: Times that as many networks are drawn with replacement, 1 to
            1,000,000.
        confidence: Share of those scores that the interval holds, in (0, 1).
    """

    n_resamples: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_count("n_resamples", self.n_resamples, low=1, high=1_000_000)
        check_range("confidence", self.confidence, low=0.001, high=0.999)


def compute_kendall_tau(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    bootstrap: BootstrapSettings | None = None,
) -> RankingScore:
    """Compute Kendall's tau-b: how far two lists agree on which of two networks is better.

    Args:
        predicted: What is judged, shape (n,), n >= 2, for instance a supernet's accuracies.
        true: What was found, shape (n,). Only the order matters, in both.
        generator: Draws the networks of the bootstrap.
        bootstrap: How the interval is found.

    Returns:
        In [-1, 1]: 1 where every pair is in the right order, 0 for chance, -1 for the reverse.
        Pairs that are tied in one list count as half right at most (tau-b); where one list has one
        value only, nothing is ordered and tau is 0.

    Raises:
        DataError: If the lists have different lengths, or fewer than two finite values.
    """
    lists = _check_lists(predicted=predicted, true=true)
    return _score(lists, lambda drawn: _tau(*drawn), generator, bootstrap)


def compute_top_k_recall(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    k: int,
    *,
    generator: np.random.Generator,
    bootstrap: BootstrapSettings | None = None,
) -> RankingScore:
    """Compute which share of the truly best networks is among those predicted to be best.

    Args:
        predicted: What is judged, shape (n,), larger is better.
        true: What was found, shape (n,), larger is better.
        k: Networks that count as best in either list, in [1, n].
        generator: Draws the networks of the bootstrap.
        bootstrap: How the interval is found.

    Returns:
        In [0, 1]; k / n is chance. Networks that are tied for the last places share them equally,
        so that equal predictions for all are chance, too.

    Raises:
        ConfigError: If k is out of range.
        DataError: If the lists have different lengths, or fewer than two finite values.
    """
    lists = _check_lists(predicted=predicted, true=true)
    if not 1 <= k <= lists.shape[1]:
        raise ConfigError(f"k must be in [1, {lists.shape[1]}], the number of networks, got {k}")
    return _score(lists, lambda drawn: _recall(drawn, k), generator, bootstrap)


def compute_tau_by_cost(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    cost: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    n_bands: int = 10,
    bootstrap: BootstrapSettings | None = None,
) -> tuple[BandScore, ...]:
    """Compute Kendall's tau among networks of similar cost, where size alone says less.

    Args:
        predicted: What is judged, shape (n,).
        true: What was found, shape (n,).
        cost: For instance macs, shape (n,).
        generator: Draws the networks of the bootstrap.
        n_bands: Bands of equally many networks, give or take one, by rising cost; 10 for deciles.
            Networks of the same cost stay in their order, on either side of a border.
        bootstrap: How the intervals are found.

    Returns:
        One score for each band, from the cheapest on; as :func:`compute_kendall_tau`.

    Raises:
        ConfigError: If there are fewer than two networks for each band.
        DataError: If the lists have different lengths or values that are not finite.
    """
    lists = _check_lists(predicted=predicted, true=true, cost=cost)
    n = lists.shape[1]
    if not 1 <= n_bands <= n // 2:
        raise ConfigError(
            f"n_bands must be in [1, {n // 2}], half the number of networks, got {n_bands}"
        )
    order = np.argsort(lists[2], kind="stable")
    bands = []
    for members in np.array_split(order, n_bands):
        band = lists[:, members]
        score = _score(band[:2], lambda drawn: _tau(*drawn), generator, bootstrap)
        least, most = float(band[2].min()), float(band[2].max())
        bands.append(BandScore(score.value, score.low, score.high, score.n, least, most))
    return tuple(bands)


def _check_lists(**lists: npt.ArrayLike) -> FloatArray:
    """Stack lists to an array of shape (n_lists, n)."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in lists.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise DataError(f"rankings need lists of one length, got shapes {shapes}")
    stacked = np.stack(list(arrays.values()))
    if stacked.shape[1] < 2:
        raise DataError(f"a ranking needs at least two networks, got {stacked.shape[1]}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            where = int(np.flatnonzero(~np.isfinite(array))[0])
            raise DataError(f"{name}[{where}] is {array[where]}; a ranking needs finite values")
    return stacked


def _score(
    lists: FloatArray,
    compute: Callable[[FloatArray], float],
    generator: np.random.Generator,
    bootstrap: BootstrapSettings | None,
) -> RankingScore:
    settings = bootstrap or BootstrapSettings()
    n = lists.shape[1]
    drawn = [compute(lists[:, generator.integers(n, size=n)]) for _ in range(settings.n_resamples)]
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return RankingScore(compute(lists), float(low), float(high), n)


def _tau(predicted: FloatArray, true: FloatArray) -> float:
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(kendalltau(predicted, true).statistic)


def _recall(lists: FloatArray, k: int) -> float:
    return float(np.minimum(_share_places(lists[0], k), _share_places(lists[1], k)).sum() / k)


def _share_places(values: FloatArray, k: int) -> FloatArray:
    """Return each network's share of the best k places, in [0, 1]; the sum is k."""
    last = np.sort(values)[-k]
    is_better, is_tied = values > last, values == last
    places: FloatArray = is_better + is_tied * (k - is_better.sum()) / is_tied.sum()
    return places
