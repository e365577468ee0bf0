"""Measurements that are repeated until they agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dpod_search.latency import rounds
from dpod_search.latency.rounds import combine
from dpod_search.latency.rounds import find_pair
from dpod_search.latency.rounds import measure_in_rounds
from dpod_search.latency.timing import Latency


def run(answers, *, tolerance=0.05):
    """Measure things whose measurements come from iterators; return medians, order and tellings."""
    order, told = [], []

    def measure(i):
        order.append(i)
        ms = next(answers[i])
        return Latency(ms, 0.9 * ms, 1.1 * ms, 3)

    found = measure_in_rounds(
        len(answers),
        measure,
        np.random.default_rng(0),
        n_rounds=2,
        tolerance=tolerance,
        tell=lambda: told.append(len(order)),
    )
    return [latency.median_ms for latency in found], order, told


def test_what_agrees_is_measured_twice_with_all_others_between():
    found, order, told = run([itertools.repeat(float(i + 1)) for i in range(20)])

    assert found == [float(i + 1) for i in range(20)]
    assert sorted(order[:20]) == sorted(order[20:]) == list(range(20))
    assert order[:20] != order[20:]  # in another order
    assert told == list(range(1, 21))


def test_what_was_disturbed_once_is_measured_again():
    found, order, _ = run([iter([1.4, 1.0, 1.01]), itertools.repeat(2.0)])

    assert found == [1.01, 2.0]
    assert order.count(0) == 3
    assert order.count(1) == 2


def test_what_never_agrees_ends():
    found, order, told = run([iter([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])])

    assert found == [6.0]
    assert len(order) == rounds.MAX_ROUNDS
    assert told == [1]


def test_nothing_is_measured_where_nothing_is_asked():
    assert run([]) == ([], [], [])


@pytest.mark.parametrize(
    ("values", "pair"),
    [
        ((1.0, 1.05), (1.0, 1.05)),
        ((1.0, 1.06), None),
        ((9.0, 1.04, 1.0), (1.0, 1.04)),
        ((1.0, 2.0, 3.0), None),
        ((1.0,), None),
    ],
)
def test_two_agree_if_they_are_near(values, pair):
    found = find_pair([Latency(v, v, v, 3) for v in values], 0.05)
    assert (found and tuple(x.median_ms for x in found)) == pair


def test_the_fastest_passes_of_all_rounds_count():
    parts = [
        Latency(9.0, 8.0, 10.0, 4, 1, 1.0, fastest_ms=3.0, reference_ms=1.0, nominal_ms=2.0),
        Latency(7.0, 6.0, 8.0, 4, 0, 2.0, fastest_ms=4.0, reference_ms=0.5, nominal_ms=2.0),
    ]
    found = combine(parts)

    assert found.quiet_ms == pytest.approx(2.0 * 3.0 / 0.5)
    assert (found.median_ms, found.low_ms, found.high_ms) == (8.0, 7.0, 9.0)
    assert (found.n_bursts, found.n_outliers, found.drift) == (8, 1, 2.0)
    assert Latency(5.0, 4.0, 6.0, 3).quiet_ms == 5.0  # nothing is known of passes
