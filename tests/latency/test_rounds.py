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


def test_what_was_disturbed_once_is_measured_again_and_the_disturbance_forgotten():
    found, order, _ = run([iter([1.4, 1.0, 1.01]), itertools.repeat(2.0)])

    assert found == [pytest.approx(1.005), 2.0]
    assert order.count(0) == 3
    assert order.count(1) == 2


def test_of_those_that_agree_the_fastest_count():
    found, _, _ = run([iter([1.4, 1.2, 1.0, 1.42])])

    assert found == [pytest.approx(1.41)]
    parts = [Latency(m, m, m, 3) for m in (1.41, 1.4, 1.01, 1.0)]
    assert combine(parts, 0.05).median_ms == pytest.approx(1.005)


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


def test_two_measurements_keep_their_intervals_and_the_drift_of_all():
    parts = [Latency(m, m - 1, m + 1, 4, 1, d) for m, d in ((5.0, 1.0), (9.0, 2.0), (5.0, 1.5))]

    assert combine(parts, 0.05) == Latency(5.0, 4.0, 6.0, 8, 2, 2.0)
