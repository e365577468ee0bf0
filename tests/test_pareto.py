"""Dominance and hypervolume against brute force and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import fronts

from dpod_search.pareto import GrowingFront
from dpod_search.pareto import compute_hypervolume
from dpod_search.pareto import find_front
from dpod_search.pareto import find_knee
from dpod_search.pareto import is_dominated
from dpod_search.pareto import select_by_hypervolume
from dpod_search.pareto import to_minimized


def any_front(max_points: int = 9) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, 4).flatmap(lambda m: fronts(m, max_points))


def count_cells(points: np.ndarray, size: int) -> int:
    """Count the unit cells of a grid that some point dominates; exact for integer points."""
    cells = np.stack(np.meshgrid(*[np.arange(size)] * points.shape[1]), -1).reshape(
        -1, points.shape[1]
    )
    return int((points[None] <= cells[:, None]).all(axis=2).any(axis=1).sum())


def include_and_exclude(points: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for n in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, n):
            box = np.clip(reference - np.max(chosen, axis=0), 0, None)
            total += (-1) ** (n + 1) * float(np.prod(box))
    return total


@given(any_front())
def test_hypervolume_equals_counting_cells(points: np.ndarray) -> None:
    # Points on or beyond the reference are among them: the grid goes to 6, the reference is 5.
    reference = np.full(points.shape[1], 5.0)

    assert compute_hypervolume(points, reference) == count_cells(points, 5)


@settings(max_examples=50)
@given(st.integers(2, 4), st.integers(1, 7), st.integers(0, 999))
def test_hypervolume_equals_inclusion_and_exclusion(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, reference = rng.normal(size=(n, m)), rng.normal(1, 0.5, size=m)

    expected = include_and_exclude(points, reference)
    assert compute_hypervolume(points, reference) == pytest.approx(expected, abs=1e-9)


@given(any_front(), st.randoms(use_true_random=False), st.integers(0, 3))
def test_hypervolume_ignores_order_duplicates_and_dominated_points(
    points: np.ndarray, random: object, shift: int
) -> None:
    reference = np.full(points.shape[1], 7.0)
    expected = compute_hypervolume(points, reference)
    order = list(range(len(points)))
    random.shuffle(order)  # type: ignore[attr-defined]

    assert compute_hypervolume(points[order], reference) == pytest.approx(expected)
    more = np.vstack([points, points, points + shift])
    assert compute_hypervolume(more, reference) == pytest.approx(expected)
    assert compute_hypervolume(points[find_front(points)], reference) == pytest.approx(expected)


@given(any_front(), st.data())
def test_a_point_that_is_not_dominated_adds_volume(
    points: np.ndarray, data: st.DataObject
) -> None:
    m = points.shape[1]
    reference = np.full(m, 9.0)
    extra = np.array(data.draw(st.tuples(*[st.integers(0, 6)] * m)), dtype=float)
    before = compute_hypervolume(points, reference)
    after = compute_hypervolume(np.vstack([points, extra]), reference)

    known = is_dominated(extra, points) or any(np.array_equal(extra, point) for point in points)
    assert (after > before) != known
    assert after >= before


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_the_hypervolume_of_a_staircase_is_known(n: int) -> None:
    steps = np.arange(n, dtype=float)
    staircase = np.stack([steps, n - 1 - steps], axis=1)

    assert compute_hypervolume(staircase, np.array([n, n])) == n * (n + 1) / 2


@given(any_front())
def test_a_growing_front_has_the_hypervolume_of_its_points_so_far(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 5.0)
    front = GrowingFront(reference)

    found = [front.add(point) for point in points]
    # Whole numbers are added without rounding.
    assert found == [compute_hypervolume(points[: i + 1], reference) for i in range(len(points))]


def test_the_hypervolume_of_a_simplex_corner_is_known() -> None:
    # Integer points of the plane a + b + c = n: the cells below them are counted by C(n + 3, 3).
    n = 5
    points = np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)], float)
    full = (n + 1) ** 3

    hypervolume = compute_hypervolume(points, np.full(3, n + 1.0))
    assert hypervolume == full - math.comb(n + 2, 3)


def test_nothing_better_than_the_reference_has_no_volume() -> None:
    reference = np.array([1.0, 1.0])

    assert compute_hypervolume(np.empty((0, 2)), reference) == 0
    assert compute_hypervolume(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -9.0]]), reference) == 0


@given(any_front())
def test_the_front_equals_brute_force(points: np.ndarray) -> None:
    expected = [
        not any(
            all(o <= p for o, p in zip(other, point, strict=True))
            and any(o < p for o, p in zip(other, point, strict=True))
            for other in points
        )
        for point in points
    ]

    assert find_front(points).tolist() == expected
    assert [not is_dominated(point, points) for point in points] == expected


def compare_all(points: np.ndarray) -> list[bool]:
    """Compare every point with every other, in plain Python."""
    return [
        not any(all(other <= point) and any(other < point) for other in points) for point in points
    ]


@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.5, math.inf])] * 2), max_size=40)
)
def test_the_front_of_two_objectives_equals_brute_force_with_ties_and_infinities(
    pairs: list[tuple[float, float]],
) -> None:
    points = np.reshape(pairs, (-1, 2))

    assert find_front(points).tolist() == compare_all(points)
    # Two objectives are sorted; a third that never changes has them compared instead.
    third = np.column_stack([points, np.ones(len(points))])
    assert find_front(points).tolist() == find_front(third).tolist()


@given(st.integers(0, 99))
def test_the_front_of_two_objectives_equals_brute_force_on_many_points(seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 30, size=(80, 2)).astype(float)
    points[:, 1] += 30 - points[:, 0] // 2  # so that many are on the front

    assert find_front(points).tolist() == compare_all(points)


def test_nothing_dominates_in_an_empty_set() -> None:
    assert not is_dominated(np.zeros(2), np.empty((0, 2)))
    assert find_front(np.empty((0, 2))).tolist() == []


@settings(max_examples=50)
@given(any_front(max_points=7), st.integers(0, 8))
def test_greedy_choice_keeps_what_theory_promises(points: np.ndarray, k: int) -> None:
    reference = np.full(points.shape[1], 7.0)
    chosen = select_by_hypervolume(points, reference, k)

    assert len(chosen) == len(set(chosen)) == min(k, len(points))
    if 0 < k < len(points):
        best = max(
            compute_hypervolume(points[list(some)], reference)
            for some in itertools.combinations(range(len(points)), k)
        )
        assert compute_hypervolume(points[chosen], reference) >= (1 - 1 / math.e) * best - 1e-9
        alone = [compute_hypervolume(points[[i]], reference) for i in range(len(points))]
        assert alone[chosen[0]] == max(alone)


def test_greedy_choice_takes_a_point_of_its_own_before_a_near_double() -> None:
    points = np.array([[0.0, 3.0], [0.1, 2.9], [3.0, 0.0]])

    assert set(select_by_hypervolume(points, np.array([4.0, 4.0]), 2)) & {0, 1} != {0, 1}


def test_greedy_choice_adds_to_what_is_chosen_already() -> None:
    points = np.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0]])

    assert select_by_hypervolume(points, np.array([4.0, 4.0]), 2, first=[2]) == [2, 1]
    assert select_by_hypervolume(points, np.array([4.0, 4.0]), 1, first=[2]) == [2]


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1))
def test_turning_senses_is_its_own_inverse(values: list[tuple[float, float]]) -> None:
    turned = to_minimized(values, ["maximize", "minimize"])

    assert np.array_equal(turned[:, 0], -np.array(values)[:, 0])
    assert np.array_equal(turned[:, 1], np.array(values)[:, 1])
    assert np.array_equal(to_minimized(turned, ["maximize", "minimize"]), values)
    assert to_minimized(values[0], ["minimize", "minimize"]).shape == (2,)


def test_the_knee_of_an_arc_is_where_its_slope_is_that_of_its_ends() -> None:
    x = np.linspace(0, 1, 101)
    # Of 1 - sqrt(x) the slope is -1 at x = 1/4.
    assert find_knee(np.column_stack([x, 1 - np.sqrt(x)])) == 25
    # A quarter of a circle: at 45 degrees.
    angle = np.linspace(np.pi, 1.5 * np.pi, 91)
    assert find_knee(np.column_stack([np.cos(angle), np.sin(angle)])) == 45


@given(fronts(2, 9), st.floats(0.01, 100), st.floats(-5, 5))
def test_the_knee_is_beyond_the_line_and_scales_do_not_matter(
    points: np.ndarray, factor: float, shift: float
) -> None:
    knee = find_knee(points)
    assert find_knee(points * [factor, 1] + [shift, 0]) == knee
    swapped = find_knee(points[:, ::-1])
    assert swapped == knee
    if knee is not None:
        low, high = points.min(axis=0), points.max(axis=0)
        scaled = ((points - low) / (high - low)).sum(axis=1)
        assert scaled[knee] < 1
        assert scaled[knee] == pytest.approx(scaled.min())


@pytest.mark.parametrize(
    "points",
    [
        [[0.0, 1.0]],
        [[0.0, 1.0], [1.0, 0.0]],
        [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]],
        [[0.0, 1.0], [0.9, 0.9], [1.0, 0.0]],
        [[1.0, 1.0], [1.0, 1.0]],
        [[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]],
    ],
)
def test_a_front_that_bends_the_other_way_has_no_knee(points: list[list[float]]) -> None:
    assert find_knee(np.array(points)) is None


def test_of_points_as_far_the_first_is_the_knee() -> None:
    assert find_knee(np.array([[0, 1], [0.2, 0.4], [0.4, 0.2], [1, 0]])) == 1
