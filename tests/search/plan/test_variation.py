from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.search.plan.variation import breed
from dpod_search.search.plan.variation import find_new
from dpod_search.search.plan.variation import measure_crowding
from dpod_search.search.plan.variation import mutate
from dpod_search.search.plan.variation import rank_points
from dpod_search.search.plan.variation import scatter
from dpod_search.search.plan.variation import select_best
from dpod_search.search.plan.variation import shrink_to_fit


SIZES = np.array([4, 4, 2, 8])


def rng(seed=0):
    return np.random.default_rng(seed)


def test_ranks_peel_fronts_off():
    points = np.array([[0.0, 2], [1, 1], [2, 0], [1, 2], [2, 2]])
    assert rank_points(points).tolist() == [0, 0, 0, 1, 2]


def test_crowding_is_infinite_at_the_ends_and_smaller_where_it_is_dense():
    crowding = measure_crowding(np.array([[0.0, 3], [1, 2], [1.1, 1.9], [3, 0]]))
    assert np.isinf(crowding[[0, 3]]).all()
    assert crowding[1] < crowding[2] < np.inf


def test_parents_are_ordered_by_violation_then_rank_then_crowding():
    points = np.array([[0.0, 3], [1, 2], [1.1, 1.9], [3, 0], [4, 4], [0, 0]])
    places = np.argsort(select_best(points, np.array([0.0, 0, 0, 0, 0, 1]), 6))
    assert places[5] == 5
    assert places[4] == 4
    assert set(places[[0, 3]]) == {0, 1}
    assert places.tolist()[1:3] == [3, 2]


@given(st.integers(0, 1000))
def test_children_stay_inside_the_space(seed):
    generator = rng(seed)
    parents = generator.integers(SIZES, size=(6, 4))
    children = breed(parents, SIZES, 5, generator)
    assert children.shape == (5, 4)
    assert np.all((children >= 0) & (children < SIZES))


def test_mutation_changes_one_gene_on_average_and_reaches_every_rung():
    generator = rng()
    start = np.zeros((4000, 4), dtype=np.int64)
    many = mutate(start, np.array([9] * 4), generator)
    # Half of the steps down and a ninth of the free draws stay at the lowest rung.
    expected = 4 * 0.25 * (0.5 * 0.5 + 0.5 * 8 / 9)
    assert abs((many != start).sum(axis=1).mean() - expected) < 0.05
    assert set(many[:, 0]) == set(range(9))


@given(st.integers(0, 1000), st.integers(0, 14))
def test_shrinking_gives_way_no_more_than_it_must(seed, limit):
    generator = rng(seed)
    vector = generator.integers(SIZES)
    small = shrink_to_fit(vector, lambda v: v.sum() <= limit, generator)
    assert np.all(small <= vector)
    assert small.sum() == min(limit, vector.sum())


def test_shrinking_ends_at_the_narrowest_if_nothing_fits():
    small = shrink_to_fit(np.array([3, 2, 1, 7]), lambda v: False, rng())
    assert small.tolist() == [0, 0, 0, 0]


def test_the_last_new_vector_is_found_and_then_a_duplicate_is_accepted():
    sizes = np.array([2, 2])
    tried = {(0, 0), (0, 1), (1, 0)}

    def find():
        return find_new(
            lambda: np.array([0, 1]), sizes, lambda v: tuple(v) not in tried, lambda v: True, rng()
        )

    assert tuple(find()) == (1, 1)
    tried.add((1, 1))
    assert tuple(find()) == (0, 1)


@given(st.integers(0, 1000), st.integers(0, 25))
def test_the_best_are_the_first_in_the_order_of_all(seed, n):
    generator = rng(seed)
    points = generator.integers(0, 6, size=(20, 2)).astype(float)
    penalties = np.maximum(0, generator.integers(-3, 3, size=20)).astype(float)
    order = select_best(points, penalties, 20)
    best = select_best(points, penalties, n)
    assert len(best) == min(n, 20)
    # Of equal ones others may be chosen, but none that is worse.
    np.testing.assert_array_equal(penalties[best], penalties[order[:n]])
    ranks = rank_points(points)
    if not penalties.any():
        np.testing.assert_array_equal(ranks[best], ranks[order[:n]])


def test_ranks_stop_once_enough_have_one():
    points = np.array([[0.0, 0], [1, 1], [2, 2], [3, 3]])
    assert rank_points(points, 2).tolist() == [0, 1, 2, 2]
    assert rank_points(points, 9).tolist() == [0, 1, 2, 3]


def test_points_without_a_finite_value_have_a_rank_too():
    points = np.array([[np.inf, np.inf], [0, np.inf], [1, 2]])
    assert rank_points(points).tolist() == [1, 0, 0]
    crowding = measure_crowding(points)
    assert not np.isnan(crowding).any()


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.zeros((1, 2)), np.ones((5, 2))])
def test_few_points_or_equal_ones_are_selected_as_well(points):
    best = select_best(points, np.zeros(len(points)), 3)
    assert len(set(best.tolist())) == len(best) == min(3, len(points))


def test_no_violation_is_preferred_to_any_rank():
    points = np.array([[0.0, 0], [5, 5], [1, 1]])
    assert select_best(points, np.array([0.5, 0, 0.1]), 2).tolist() == [1, 2]


def test_parents_with_a_better_place_have_more_children():
    # Parents differ in one gene that marks them; half of the children's genes are theirs.
    sizes = np.array([8] * 6)
    parents = np.repeat(np.arange(8)[:, None], 6, axis=1)
    children = breed(parents, sizes, 3000, rng())
    counts = np.bincount(children.ravel(), minlength=8)
    assert counts[0] > 2 * counts[4] > 4 * counts[7]


def test_first_vectors_cover_every_cost():
    sizes = np.array([8] * 30)
    many = np.array([scatter(sizes, generator) for generator in map(rng, range(400))])
    means = many.mean(axis=1) / 7
    assert np.all((many >= 0) & (many < 8))
    # Of uniform draws hardly one would be outside 0.35 to 0.65.
    assert np.mean(means < 0.35) > 0.1
    assert np.mean(means > 0.65) > 0.1


def test_a_large_space_is_searched_around_the_last_draw():
    sizes = np.array([8] * 6)
    start = np.array([3] * 6)

    def find(is_new):
        return find_new(lambda: start, sizes, is_new, lambda v: v.sum() <= 18, rng())

    found = find(lambda v: not np.array_equal(v, start))
    assert np.count_nonzero(found != start) == 1
    assert found.sum() <= 18
    assert find(lambda v: False).tolist() == start.tolist()
