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
from dpod_search.pipeline.shrinking.ladder import SHARES
from dpod_search.pipeline.shrinking.ladder import Ask
from dpod_search.pipeline.shrinking.ladder import End
from dpod_search.pipeline.shrinking.ladder import Step
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


def share_of(goal: Goal, step: Step) -> float:
    return min(find_share(bound, FULL) for bound in find_bounds(goal, step, FULL))


def climb(
    goal: Goal, judge: Callable[[Step, float, int], Tried]
) -> tuple[list[tuple[Step, int]], list[Tried], End]:
    """Follow the ladder to its end; return what it asked, what counts in the end, and the end."""
    asked: list[tuple[Step, int]] = []
    tried: list[Tried] = []
    n_doublings = 0
    while isinstance(wanted := plan_next(goal, tried, n_doublings), Ask):
        assert len(asked) < count_most(goal)
        if wanted.n_doublings != n_doublings:
            tried, n_doublings = [], wanted.n_doublings
        asked.append((wanted.step, n_doublings))
        tried.append(judge(wanted.step, share_of(goal, wanted.step), n_doublings))
    return asked, tried, wanted


def least(share: float, *, spent: float = 1.0) -> Callable[[Step, float, int], Tried]:
    """Judge by a threshold: what has so much of the full net keeps what it must."""
    return lambda step, allowed, n: Tried(step, allowed >= share * spent**n, 0.99 * allowed)


@given(st.sampled_from(GOALS), st.data())
def test_it_ends_asks_nothing_twice_and_its_answer_keeps_the_bound(goal: Goal, data) -> None:
    def judge(step: Step, allowed: float, n: int) -> Tried:
        share = data.draw(st.none() | st.floats(0.5, 1.0), label="reached")
        keeps = share is not None and data.draw(st.booleans(), label="keeps")
        return Tried(step, keeps, None if share is None else share * allowed)

    asked, tried, end = climb(goal, judge)
    assert len(asked) == len(set(asked))
    spelled = [(spell_budget(find_bounds(goal, step, FULL)), n) for step, n in asked]
    assert len(spelled) == len(set(spelled))
    if end.answer is not None:
        assert next(item for item in tried if item.step == end.answer).keeps
    if end.is_met:
        assert end.answer is not None
        if goal.shrinks:
            kept = [item.share for item in tried if item.keeps]
            assert next(i for i in tried if i.step == end.answer).share == min(kept)


@given(st.floats(0.05, 0.99))
def test_a_descent_comes_near_to_the_smallest_that_keeps(share: float) -> None:
    asked, _, end = climb(parse_goal("smallest, accuracy>=-1pt"), least(share))
    assume(end.is_met)
    allowed = share_of(parse_goal("smallest, accuracy>=-1pt"), end.answer)
    assert share <= allowed
    assert allowed <= max(1.2 * share, SHARES[-1])
    assert len([step for step, _ in asked if step.place not in SHARES]) <= N_BISECTIONS


def test_a_descent_that_loses_at_once_looks_between_it_and_the_full_net() -> None:
    asked, _, end = climb(parse_goal("smallest, accuracy>=-1pt"), least(0.9))
    assert [round(step.place, 2) for step, _ in asked] == [0.7, 0.84, 0.92]
    assert end == End(True, asked[-1][0])
    assert not climb(parse_goal("smallest, accuracy>=-1pt"), least(2.0))[2].is_met


def test_steps_that_a_subnet_is_below_already_are_left_out() -> None:
    goal = parse_goal("smallest, macs<=30%, accuracy>=-1pt")
    asked, *_ = climb(goal, lambda step, allowed, n: Tried(step, True, min(0.3, allowed)))
    assert [step for step, _ in asked[:2]] == [GOAL, Step("smaller", 0.25)]
    texts = [spell_budget(find_bounds(goal, step, FULL)) for step, _ in asked[:2]]
    assert texts == ["macs<=30%", "weight_bytes<=25% and macs<=30%"]


def test_more_is_spent_before_a_budget_is_given_up() -> None:
    goal = parse_goal("macs<=50%, accuracy>=-1pt")
    asked, _, end = climb(goal, least(0.9, spent=0.7))
    assert asked == [(GOAL, 0), (GOAL, 1), (GOAL, 2)]
    assert end == End(True, GOAL)


def test_what_needs_more_epochs_and_then_descends_stays_within_what_was_told() -> None:
    goal = parse_goal("smallest, latency<=90%, accuracy>=-1pt")

    def judge(step: Step, allowed: float, n: int) -> Tried:
        is_enough = step == GOAL or step.place > SHARES[-1]
        return Tried(step, n == N_DOUBLINGS and is_enough, 0.99 if step == GOAL else step.place)

    asked, *_ = climb(goal, judge)
    assert len(asked) == count_most(goal)


def test_a_budget_out_of_reach_names_the_smallest_that_keeps_the_loss() -> None:
    goal = parse_goal("macs<=1M and weight_bytes<=200kB, accuracy>=-1pt")
    asked, _, end = climb(goal, least(0.6))
    assert asked[N_DOUBLINGS + 1 :] == [(Step("wider", 0.5), 2), (Step("wider", 0.75), 2)]
    assert end == End(False, Step("wider", 0.75))
    bounds = find_bounds(goal, end.answer, FULL)
    assert [b.limit for b in bounds] == pytest.approx([0.25**0.25, 0.5**0.25], abs=1e-4)
    assert climb(goal, least(2.0))[2] == End(False, None)


def test_a_budget_that_nothing_is_within_is_the_end() -> None:
    goal = parse_goal("macs<=50%, accuracy>=-1pt")
    assert climb(goal, lambda step, *_: Tried(step, False, None))[2] == End(False, None)


def test_without_a_bound_on_the_loss_nothing_more_is_spent() -> None:
    goal = parse_goal("best under 100 kB")
    assert climb(goal, lambda step, *_: Tried(step, False, 0.9))[2] == End(False, None)


def test_bounds_alone_are_met_by_what_is_within_them() -> None:
    asked, _, end = climb(parse_goal("best under 100 kB"), least(0.0))
    assert (asked, end) == ([(GOAL, 0)], End(True, GOAL))
