from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import fronts

from dpod_search.pareto import compute_hypervolume
from dpod_search.search.plan.improvement import SampledVolume
from dpod_search.search.plan.improvement import Staircase
from dpod_search.search.plan.improvement import make_outcomes
from dpod_search.search.plan.improvement import make_volume
from dpod_search.search.plan.improvement import pick_points


# Among the points drawn, which go to 6, some lie on the reference point and some beyond it.
REFERENCE = 5.0


def measure_gains(front, points, reference):
    before = compute_hypervolume(front, reference)
    return [compute_hypervolume(np.vstack([front, p]), reference) - before for p in points]


def drawn(n_objectives):
    return st.tuples(fronts(n_objectives, 8), fronts(n_objectives, 5), st.booleans())


@given(st.integers(1, 2).flatmap(drawn))
def test_the_staircase_measures_what_a_point_adds_to_the_hypervolume(example):
    front, points, is_empty = example
    front = front[:0] if is_empty else front
    reference = np.full(points.shape[1], REFERENCE)
    measured = Staircase(front, reference).measure(points)
    assert measured.tolist() == measure_gains(front, points, reference)


@given(st.integers(1, 2).flatmap(drawn))
def test_points_taken_into_the_staircase_count_like_those_it_began_with(example):
    front, points, _ = example
    reference = np.full(points.shape[1], REFERENCE)
    grown = Staircase(front[:0], reference)
    for point in front:
        grown.include(point)
    assert grown.measure(points).tolist() == measure_gains(front, points, reference)


def test_up_to_two_objectives_the_volume_is_exact_and_from_three_it_is_sampled():
    for m, expected in ((1, Staircase), (2, Staircase), (3, SampledVolume), (4, SampledVolume)):
        volume = make_volume(np.empty((0, m)), np.ones(m), np.zeros(m))
        assert isinstance(volume, expected)
        assert volume.measure(np.full((1, m), 0.5)) == pytest.approx(0.5**m, abs=0.01)


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_the_sampled_volume_is_close_to_the_exact_one(seed):
    rng = np.random.default_rng(seed)
    ideal, reference = np.array([-1.0, 0.0, 10.0]), np.array([1.0, 5.0, 20.0])
    front, points = rng.uniform(ideal, reference, size=(2, 6, 3))
    volume = SampledVolume(front[:4], reference, ideal, seed=seed)
    for point in front[4:]:
        volume.include(point)
    gains = volume.measure(points) * np.prod(reference - ideal)
    expected = measure_gains(front, points, reference)
    # 2**13 Sobol points: the error of a box is far below the 1/sqrt(n) of random ones.
    np.testing.assert_allclose(gains, expected, atol=0.005 * np.prod(reference - ideal))
    again = SampledVolume(front, reference, ideal, seed=seed).measure(points)
    np.testing.assert_array_equal(gains, again * np.prod(reference - ideal))


def pick_eagerly(outcomes, weights, expected, volume, *, n, accept):
    """Compute every gain again for every pick; what cannot be accepted is no candidate."""
    left = [i for i in range(outcomes.shape[1]) if accept(i)]
    picked = []
    while left and len(picked) < n:
        gains = [float(weights @ volume.measure(outcomes[:, i])) for i in left]
        if max(gains) <= 0:
            break
        picked.append(left.pop(int(np.argmax(gains))))
        volume.include(expected[picked[-1]])
    return picked


@given(st.integers(0, 999), st.integers(1, 3), st.integers(0, 12))
@settings(max_examples=40)
def test_lazy_picks_are_those_of_plain_greedy_choice(seed, m, n):
    rng = np.random.default_rng(seed)
    expected = rng.random((12, m))
    outcomes = expected + 0.2 * rng.standard_normal((3, 12, m))
    weights, front = np.array([0.25, 0.5, 0.25]), rng.random((2, m))
    corners = np.ones(m), np.zeros(m)

    def accept(i):
        return i % 4 > 0

    picked = pick_points(
        outcomes, weights, expected, make_volume(front, *corners), n=n, accept=accept
    )
    eager = pick_eagerly(
        outcomes, weights, expected, make_volume(front, *corners), n=n, accept=accept
    )
    assert picked == eager
    assert len(picked) == len(set(picked)) <= n
    assert all(map(accept, picked))


def test_points_that_add_nothing_are_not_picked():
    front, reference = np.array([[0.2, 0.2]]), np.ones(2)
    points = np.array([[0.5, 0.5], [0.1, 0.9], [0.2, 0.2], [0.1, 0.9], [2.0, 0.0]])
    picked = pick_points(points[None], np.ones(1), points, Staircase(front, reference), n=5)
    assert picked == [1]
    none = pick_points(points[None, :0], np.ones(1), points[:0], Staircase(front, reference), n=5)
    assert none == []


def test_a_point_is_picked_for_what_it_may_be_not_only_for_what_is_expected():
    front = np.array([[0.5, 0.5]])
    expected = np.array([[0.6, 0.5], [0.6, 0.5]])  # neither is expected to add anything
    by = np.array([[0.0, 0.0], [0.3, 0.0]])
    outcomes = np.stack([expected - by, expected + by])
    weights = np.array([0.5, 0.5])
    volume = Staircase(front, np.ones(2))
    assert pick_points(outcomes, weights, expected, volume, n=2) == [1]


@pytest.mark.parametrize("n_unsure", [0, 1, 2, 3, 4])
def test_outcomes_are_standard_normal_numbers(n_unsure):
    nodes, weights = make_outcomes(n_unsure)
    assert nodes.shape == (len(weights), n_unsure)
    assert weights.sum() == pytest.approx(1)
    mean = weights @ nodes
    np.testing.assert_allclose(mean, 0, atol=0.15)
    np.testing.assert_allclose(weights @ (nodes - mean) ** 2, 1, atol=0.15)


def test_one_unsure_objective_gives_the_expected_improvement():
    # E[max(z - t, 0)] of a standard normal z is known: phi(t) - t (1 - Phi(t)).
    nodes, weights = make_outcomes(1)
    for threshold, expected in ((0.0, 0.3989), (1.0, 0.0833), (2.0, 0.0085)):
        found = weights @ np.maximum(nodes[:, 0] - threshold, 0)
        assert found == pytest.approx(expected, abs=0.03)
