from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.goals import Goal
from dpod_search.goals import parse_goal
from dpod_search.pipeline.shrinking.ladder import GOAL
from dpod_search.pipeline.shrinking.ladder import N_BISECTIONS
from dpod_search.pipeline.shrinking.ladder import N_DOUBLINGS
from dpod_search.pipeline.shrinking.ladder import RUNGS
from dpod_search.pipeline.shrinking.ladder import Ask
from dpod_search.pipeline.shrinking.ladder import End
from dpod_search.pipeline.shrinking.ladder import Rung
from dpod_search.pipeline.shrinking.ladder import Tried
from dpod_search.pipeline.shrinking.ladder import count_most
from dpod_search.pipeline.shrinking.ladder import find_bounds
from dpod_search.pipeline.shrinking.ladder import find_share
from dpod_search.pipeline.shrinking.ladder import plan_next
from dpod_search.pipeline.shrinking.ladder import spell_budget


FULL = {"macs": 4e6, "weight_bytes": 4e5, "latency": 8.0}
GOALS = [
    parse_goal(text)
    for text in (
        "macs<=50%, accuracy>=-1pt",
        "macs<=1M and weight_bytes<=100kB, accuracy>=-1pt",
        "best under 5 ms, accuracy>=-1pt",
        "best under 100 kB",
        "fastest, accuracy>=-1pt",
        "smallest, accuracy>=-1pt",
        "smallest under 100 kB, accuracy>=-1pt",
        "fastest under 100 kB, accuracy>=-1pt",
    )
]


def share_of(goal: Goal, rung: Rung) -> float:
    return min(find_share(bound, FULL) for bound in find_bounds(goal, rung, FULL))


def climb(
    goal: Goal, judge: Callable[[Rung, float, int], Tried]
) -> tuple[list[tuple[Rung, int]], list[Tried], End]:
    """Follow the ladder to its end; return what it asked, what counts in the end, and the end."""
    asked: list[tuple[Rung, int]] = []
    tried: list[Tried] = []
    n_doublings = 0
    while isinstance(step := plan_next(goal, tried, n_doublings), Ask):
        assert len(asked) < count_most(goal)
        if step.n_doublings != n_doublings:
            tried, n_doublings = [], step.n_doublings
        asked.append((step.rung, n_doublings))
        tried.append(judge(step.rung, share_of(goal, step.rung), n_doublings))
    return asked, tried, step


def least(share: float, *, spent: float = 1.0) -> Callable[[Rung, float, int], Tried]:
    """Judge by a threshold: what has so much of the full net keeps what it must."""
    return lambda rung, allowed, n: Tried(rung, allowed >= share * spent**n, 0.99 * allowed)


@given(st.sampled_from(GOALS), st.data())
def test_it_ends_asks_nothing_twice_and_its_answer_keeps_the_bound(goal: Goal, data) -> None:
    def judge(rung: Rung, allowed: float, n: int) -> Tried:
        share = data.draw(st.none() | st.floats(0.5, 1.0), label="reached")
        keeps = share is not None and data.draw(st.booleans(), label="keeps")
        return Tried(rung, keeps, None if share is None else share * allowed)

    asked, tried, end = climb(goal, judge)
    assert len(asked) == len(set(asked))
    spelled = [(spell_budget(find_bounds(goal, rung, FULL)), n) for rung, n in asked]
    assert len(spelled) == len(set(spelled))
    if end.answer is not None:
        assert next(item for item in tried if item.rung == end.answer).keeps
    if end.is_met:
        assert end.answer is not None
        if goal.shrinks:
            kept = [item.share for item in tried if item.keeps]
            assert next(i for i in tried if i.rung == end.answer).share == min(kept)


@given(st.floats(0.05, 0.99))
def test_a_descent_comes_near_to_the_smallest_that_keeps(share: float) -> None:
    asked, _, end = climb(parse_goal("smallest, accuracy>=-1pt"), least(share))
    assume(end.is_met)
    allowed = share_of(parse_goal("smallest, accuracy>=-1pt"), end.answer)
    assert share <= allowed
    assert allowed <= max(1.2 * share, RUNGS[-1])
    assert len([rung for rung, _ in asked if rung.place not in RUNGS]) <= N_BISECTIONS


def test_a_descent_that_loses_at_once_looks_between_it_and_the_full_net() -> None:
    asked, _, end = climb(parse_goal("smallest, accuracy>=-1pt"), least(0.9))
    assert [round(rung.place, 2) for rung, _ in asked] == [0.7, 0.84, 0.92]
    assert end == End(True, asked[-1][0])
    assert not climb(parse_goal("smallest, accuracy>=-1pt"), least(2.0))[2].is_met


def test_rungs_that_a_subnet_is_below_already_are_left_out() -> None:
    goal = parse_goal("smallest, macs<=30%, accuracy>=-1pt")
    asked, *_ = climb(goal, lambda rung, allowed, n: Tried(rung, True, min(0.3, allowed)))
    assert [rung for rung, _ in asked[:2]] == [GOAL, Rung("smaller", 0.25)]
    texts = [spell_budget(find_bounds(goal, rung, FULL)) for rung, _ in asked[:2]]
    assert texts == ["macs<=30%", "weight_bytes<=25% and macs<=30%"]


def test_more_is_spent_before_a_budget_is_given_up() -> None:
    goal = parse_goal("macs<=50%, accuracy>=-1pt")
    asked, _, end = climb(goal, least(0.9, spent=0.7))
    assert asked == [(GOAL, 0), (GOAL, 1), (GOAL, 2)]
    assert end == End(True, GOAL)


def test_what_needs_more_epochs_and_then_descends_stays_within_what_was_told() -> None:
    goal = parse_goal("smallest, latency<=90%, accuracy>=-1pt")

    def judge(rung: Rung, allowed: float, n: int) -> Tried:
        is_enough = rung == GOAL or rung.place > RUNGS[-1]
        return Tried(rung, n == N_DOUBLINGS and is_enough, 0.99 if rung == GOAL else rung.place)

    asked, *_ = climb(goal, judge)
    assert len(asked) == count_most(goal)


def test_a_budget_out_of_reach_names_the_smallest_that_keeps_the_loss() -> None:
    goal = parse_goal("macs<=1M and weight_bytes<=200kB, accuracy>=-1pt")
    asked, _, end = climb(goal, least(0.6))
    assert asked[N_DOUBLINGS + 1 :] == [(Rung("wider", 0.5), 2), (Rung("wider", 0.75), 2)]
    assert end == End(False, Rung("wider", 0.75))
    bounds = find_bounds(goal, end.answer, FULL)
    assert [b.limit for b in bounds] == pytest.approx([0.25**0.25, 0.5**0.25], abs=1e-4)
    assert climb(goal, least(2.0))[2] == End(False, None)


def test_a_budget_that_nothing_is_within_is_the_end() -> None:
    goal = parse_goal("macs<=50%, accuracy>=-1pt")
    assert climb(goal, lambda rung, *_: Tried(rung, False, None))[2] == End(False, None)


def test_without_a_bound_on_the_loss_nothing_more_is_spent() -> None:
    goal = parse_goal("best under 100 kB")
    assert climb(goal, lambda rung, *_: Tried(rung, False, 0.9))[2] == End(False, None)


def test_bounds_alone_are_met_by_what_is_within_them() -> None:
    asked, _, end = climb(parse_goal("best under 100 kB"), least(0.0))
    assert (asked, end) == ([(GOAL, 0)], End(True, GOAL))
