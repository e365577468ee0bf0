from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import fisher_exact

from dpod_search.intervals import compute_excess_p
from dpod_search.intervals import compute_wilson_interval


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_agrees_with_scipy(counted: tuple[int, int]) -> None:
    k, n = counted
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert compute_wilson_interval(k / n, n) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


@given(st.integers(1, 500), st.data())
def test_wilson_intervals_hold_the_rate_and_stay_in_the_unit(n, data):
    hits = data.draw(st.integers(0, n))
    low, high = compute_wilson_interval(hits / n, n)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1
    assert high - low < 0.85


def test_wilson_agrees_with_the_published_example():
    # Newcombe 1998, table I: 0 of 20 gives 0 to 0.1611, 1 of 29 gives 0.0061 to 0.1718.
    assert compute_wilson_interval(0 / 20, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert compute_wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(*[st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))] * 2)
def test_excess_agrees_with_scipy(counted: tuple[int, int], other: tuple[int, int]) -> None:
    table = [[counted[0], counted[1] - counted[0]], [other[0], other[1] - other[0]]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert compute_excess_p(*counted, *other) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_excess_agrees_with_the_lady_tasting_tea() -> None:
    # Fisher, The Design of Experiments, 1935, chapter II: all eight cups, one way of 70.
    assert compute_excess_p(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert compute_excess_p(99_000, 100_000, 98_000, 100_000) < 1e-60
