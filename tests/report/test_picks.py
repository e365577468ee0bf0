from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from report.run_folder import RunFolder

from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.report import read_run
from dpod_search.report.picks import PICK_BUDGETS
from dpod_search.report.picks import pick_example
from dpod_search.report.picks import pick_members


FULL = FullNet(footprint={"macs": 1000}, validation={"accuracy": 0.98}, test={"accuracy": 0.97})


def make_member(trial: int, macs: int, validation: float, test: float = 0.5) -> Member:
    return Member(
        trial=trial,
        folder=str(trial),
        widths={},
        values={},
        values_after={},
        footprint={"macs": macs},
        validation_before={"accuracy": 0.1},
        validation={"accuracy": validation},
        test_before={"accuracy": 0.1},
        test={"accuracy": test},
        budgets=(),
        macs_share=macs / 1000,
        on_front=True,
        knee=False,
        is_full=macs == 1000,
    )


def make_front(members: Sequence[Member]) -> FinetunedFront:
    return FinetunedFront(
        study="digits",
        seed=0,
        footprints=("macs",),
        budgets=(),
        unmet_budgets={},
        full=FULL,
        members=tuple(members),
    )


def picked_trials(*members: Member) -> list[int | None]:
    picks = pick_members(make_front(members))
    assert [pick.budget for pick in picks] == list(PICK_BUDGETS)
    return [None if pick.member is None else pick.member.trial for pick in picks]


def test_each_budget_gets_its_most_accurate_member() -> None:
    members = [make_member(1, 80, 0.8), make_member(2, 90, 0.7), make_member(3, 600, 0.9)]
    assert picked_trials(*members) == [None, 1, 1, 1, 3]


def test_validation_decides_and_test_does_not() -> None:
    members = [make_member(1, 40, 0.8, test=0.1), make_member(2, 45, 0.7, test=0.9)]
    assert picked_trials(*members) == [1] * 5


def test_equally_accurate_members_give_way_to_the_smallest() -> None:
    assert picked_trials(make_member(1, 100, 0.8), make_member(2, 50, 0.8)) == [2] * 5


def test_a_budget_includes_its_own_limit() -> None:
    member = replace(make_member(1, 100, 0.8), macs_share=0.1 + 2e-17 + 1e-16)
    assert picked_trials(member) == [None, 1, 1, 1, 1]


def test_no_members_no_picks() -> None:
    assert picked_trials() == [None] * 5


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [([0.5, 0.97, 0.98], 2), ([0.5, 0.9, 0.8], 2), ([], None)],
)
def test_the_example_is_the_smallest_close_one(
    accuracies: list[float], expected: int | None
) -> None:
    members = [make_member(i, 10 * i, accuracy) for i, accuracy in enumerate(accuracies, 1)]
    example = pick_example(make_front(members))
    assert (None if example is None else example.trial) == expected


def test_the_full_net_may_be_picked_but_is_no_example() -> None:
    full = make_member(7, 1000, 0.99)
    assert picked_trials(full) == [None, None, None, None, 7]
    assert pick_example(make_front([full])) is None


def test_picks_agree_with_a_direct_search_of_the_folder(run: RunFolder) -> None:
    front = read_run(run.write()).front
    assert front is not None
    members = run.documents["front.json"]["members"]
    for pick in pick_members(front):
        within = [m for m in members if m["macs"] <= pick.budget * front.full.macs]
        best = max((m["validation_accuracy"] for m in within), default=None)
        assert (None if pick.member is None else pick.member.validation["accuracy"]) == best
