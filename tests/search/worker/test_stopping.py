from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.search import SearchSettings
from dpod_search.search.worker.stopping import MIN_RISE
from dpod_search.search.worker.stopping import Budget


SETTINGS = SearchSettings(n_trials=100, n_evaluated=50, seconds=60.0, stall=5)
RISING = [1.0 + i for i in range(20)]


def find_end(budget, *, n_finished=0, n_evaluated=0, seconds=0.0, hypervolumes=RISING):
    return budget.find_end(
        n_finished=n_finished,
        n_evaluated=n_evaluated,
        seconds=seconds,
        hypervolumes=hypervolumes,
    )


def test_within_all_limits_a_search_goes_on():
    budget = Budget.of(SETTINGS)
    assert find_end(budget, n_finished=99, n_evaluated=49, seconds=59.9) is None


@pytest.mark.parametrize(
    ("spent", "limit", "raised", "reason"),
    [
        ({"n_finished": 100}, "n_trials", 101, "100 trials are finished"),
        ({"n_finished": 104}, "n_trials", 105, "104 trials are finished"),
        ({"n_evaluated": 50}, "n_evaluated", 51, "50 subnets are evaluated"),
        ({"seconds": 60.2}, "seconds", 61.0, "60.2 seconds of searching are spent"),
        ({"hypervolumes": [1.0] * 6}, "stall", 6, "the last 5 evaluated subnets raised"),
    ],
)
def test_the_first_limit_that_is_reached_ends_it_and_a_higher_one_continues(
    spent, limit, raised, reason
):
    ended = find_end(Budget.of(SETTINGS), **spent)
    assert ended is not None
    assert ended.startswith(reason)
    assert find_end(Budget.of(replace(SETTINGS, **{limit: raised})), **spent) is None


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.lists(st.floats(0, 1), max_size=30))
def test_by_default_only_the_trials_count(n_evaluated, seconds, hypervolumes):
    budget = Budget.of(SearchSettings(n_trials=10))
    spent = {"n_evaluated": n_evaluated, "seconds": seconds, "hypervolumes": hypervolumes}
    assert find_end(budget, n_finished=9, **spent) is None
    assert find_end(budget, n_finished=10, **spent) == "10 trials are finished"


@given(st.integers(1, 8), st.integers(1, 20), st.floats(0, 3 * MIN_RISE))
def test_a_stall_is_a_rise_below_a_thousandth_over_all_of_its_subnets(stall, n_before, rise):
    budget = Budget.of(SearchSettings(stall=stall))
    steps = [2.0 * (1 + rise * i / stall) for i in range(stall + 1)]
    ended = find_end(budget, hypervolumes=[2.0] * (n_before - 1) + steps)
    if abs(rise - MIN_RISE) > 1e-9:
        assert (ended is not None) == (rise < MIN_RISE)
    assert find_end(budget, hypervolumes=steps[1:]) is None  # too few to tell


def test_without_a_front_nothing_stalls():
    budget = Budget.of(SearchSettings(stall=3))
    assert find_end(budget, hypervolumes=[0.0] * 50) is None
    assert find_end(budget, hypervolumes=[0.0] * 50 + [1.0] * 3) is None
    assert find_end(budget, hypervolumes=[0.0] * 50 + [1.0] * 4) is not None
