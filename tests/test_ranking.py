"""Kendall's tau and top-k recall against counting, and what their intervals promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.ranking import BootstrapSettings
from dpod_search.ranking import compute_kendall_tau
from dpod_search.ranking import compute_tau_by_cost
from dpod_search.ranking import compute_top_k_recall


ONCE = BootstrapSettings(n_resamples=1)
FEW = BootstrapSettings(n_resamples=5)

# Few different values, so that ties are common.
pairs_of_lists = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * 2)
)


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def count_tau(a: list[int], b: list[int]) -> float:
    """Tau-b by its definition, pair by pair."""
    agree = n_a = n_b = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        sign_a, sign_b = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
        agree += sign_a * sign_b
        n_a += abs(sign_a)
        n_b += abs(sign_b)
    return float(agree / np.sqrt(n_a * n_b)) if n_a and n_b else 0.0


@given(pairs_of_lists)
def test_tau_equals_counting_pairs(lists: tuple[list[int], list[int]]) -> None:
    found = compute_kendall_tau(*lists, generator=draws(), bootstrap=ONCE)

    assert found.value == pytest.approx(count_tau(*lists), abs=1e-12)


@given(pairs_of_lists)
def test_only_the_order_matters(lists: tuple[list[int], list[int]]) -> None:
    predicted, true = map(np.array, lists)

    found = [
        compute_kendall_tau(values, true, generator=draws(), bootstrap=FEW)
        for values in (predicted, np.exp(predicted))
    ]
    assert found[0] == found[1]


@given(pairs_of_lists, st.data())
def test_recall_without_ties_equals_counting(
    lists: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    n = len(lists[0])
    k = data.draw(st.integers(1, n))
    predicted, true = (np.array(values) + 1e-3 * np.arange(n) for values in lists)

    found = compute_top_k_recall(predicted, true, k, generator=draws(), bootstrap=ONCE)
    best = [set(np.argsort(values)[n - k :].tolist()) for values in (predicted, true)]
    assert found.value == pytest.approx(len(best[0] & best[1]) / k)


@given(pairs_of_lists, st.data())
def test_perfect_predictions_recall_all_and_equal_ones_are_chance(
    lists: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    true = lists[0]
    k = data.draw(st.integers(1, len(true)))

    perfect = compute_top_k_recall(true, true, k, generator=draws(), bootstrap=FEW)
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 1, 1))
    if len(set(true)) == len(true):
        nothing = compute_top_k_recall([0] * len(true), true, k, generator=draws(), bootstrap=ONCE)
        assert nothing.value == pytest.approx(k / len(true))


def test_a_predictor_of_one_value_orders_nothing() -> None:
    found = compute_kendall_tau([1, 1, 1], [1, 2, 3], generator=draws(), bootstrap=FEW)

    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.statistical
def test_the_interval_covers_the_tau_of_the_population() -> None:
    """95 % intervals of 100 samples: fewer than 85, or all 100, hold once in some 150 times."""
    # Greiner's relation: normal pairs of correlation r have tau 2 / pi * arcsin(r).
    truth = 2 / np.pi * np.arcsin(0.8)
    n_covered = 0
    for seed in range(100):
        generator = draws(seed)
        true = generator.normal(size=100)
        predicted = 0.8 * true + 0.6 * generator.normal(size=100)
        found = compute_kendall_tau(
            predicted, true, generator=generator, bootstrap=BootstrapSettings(n_resamples=100)
        )
        n_covered += found.low <= truth <= found.high

    assert 85 <= n_covered < 100


def test_the_interval_follows_the_generator_and_the_confidence() -> None:
    true = np.arange(30.0)
    predicted = true + draws(1).normal(scale=8, size=30)

    def find(seed: int, confidence: float) -> tuple[float, float]:
        bootstrap = BootstrapSettings(n_resamples=200, confidence=confidence)
        found = compute_kendall_tau(predicted, true, generator=draws(seed), bootstrap=bootstrap)
        assert found.low < found.value < found.high
        return found.low, found.high

    assert find(0, 0.9) == find(0, 0.9) != find(1, 0.9)
    narrow, wide = find(0, 0.5), find(0, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_bands_hold_networks_of_similar_cost() -> None:
    cost = np.array([5, 1, 4, 2, 3, 6, 7])
    true = np.array([0, 1, 1, 2, 3, 2, 1])
    # Right among the cheapest three, reversed among the next two, right among the last.
    predicted = np.array([1, 0, 0, 1, 2, 1, 0])

    found = compute_tau_by_cost(
        predicted, true, cost, generator=draws(), n_bands=3, bootstrap=ONCE
    )
    assert [(band.least, band.most, band.n) for band in found] == [(1, 3, 3), (4, 5, 2), (6, 7, 2)]
    assert [band.value for band in found] == [1, -1, 1]


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_one_band_is_the_tau_of_all(seed: int) -> None:
    lists = draws(seed).normal(size=(3, 20))

    (band,) = compute_tau_by_cost(*lists, generator=draws(), n_bands=1, bootstrap=ONCE)
    whole = compute_kendall_tau(*lists[:2], generator=draws(), bootstrap=ONCE)
    assert band.value == pytest.approx(whole.value)


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([1, 2], [1, 2, 3], r"one length, got shapes .*\(2,\).*\(3,\)"),
        ([[1, 2]], [[1, 2]], r"one length, got shapes .*\(1, 2\)"),
        ([1], [1], "at least two networks, got 1"),
        ([1, 2], [1, float("nan")], r"true\[1\] is nan"),
        ([float("inf"), 2], [1, 2], r"predicted\[0\] is inf"),
    ],
)
def test_lists_that_cannot_be_ranked(predicted: object, true: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compute_kendall_tau(predicted, true, generator=draws())  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_at_most_the_number_of_networks(k: int) -> None:
    with pytest.raises(ConfigError, match=rf"k must be in \[1, 3\].*got {k}"):
        compute_top_k_recall([1, 2, 3], [1, 2, 3], k, generator=draws())


def test_a_band_needs_two_networks() -> None:
    with pytest.raises(ConfigError, match=r"n_bands must be in \[1, 1\]"):
        compute_tau_by_cost([1, 2, 3], [1, 2, 3], [1, 2, 3], generator=draws(), n_bands=2)


@pytest.mark.parametrize("options", [{"n_resamples": 0}, {"confidence": 1.0}])
def test_bootstrap_settings_have_ranges(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        BootstrapSettings(**options)  # type: ignore[arg-type]
