from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.run_folder import RunFolder

from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.records.metrics import Aim
from dpod_search.report import read_run
from dpod_search.report.picks import PICK_BUDGETS
from dpod_search.report.picks import compute_standard_error
from dpod_search.report.picks import find_cheaper
from dpod_search.report.picks import find_cheaper_within
from dpod_search.report.picks import is_as_good
from dpod_search.report.picks import pick_example
from dpod_search.report.picks import pick_members
from dpod_search.report.picks import recommend


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


@given(
    accuracies=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=12),
    n_samples=st.sampled_from([0, 50, 359, 10_000]),
)
def test_no_cheaper_member_is_as_good_as_the_best_but_the_recommended_one(
    accuracies: list[float], n_samples: int
) -> None:
    members = [make_member(i, 10 * i, accuracy) for i, accuracy in enumerate(accuracies, 1)]
    aim = make_front(members).task.first
    found = recommend(reversed(members), aim, n_samples)
    assert found is not None
    best = max(members, key=lambda m: (m.validation["accuracy"], -m.macs))
    assert is_as_good(found, best, aim, n_samples)
    assert found.macs <= best.macs
    assert not any(is_as_good(m, best, aim, n_samples) for m in members if m.macs < found.macs)


def test_a_standard_error_is_that_of_a_share_and_0_where_it_is_not_known() -> None:
    assert compute_standard_error(0.9, 900) == pytest.approx(0.01)
    assert compute_standard_error(0.9, 0) == 0.0


@pytest.mark.parametrize(("n_samples", "expected"), [(0, 3), (10_000, 3), (100, 2)])
def test_what_validation_cannot_tell_apart_gives_way_to_the_cheaper(
    n_samples: int, expected: int
) -> None:
    # A standard error of 0.90 is 0.03 on 100 samples: 0.88 is within it, 0.86 is not.
    members = [make_member(1, 10, 0.86), make_member(2, 20, 0.88), make_member(3, 30, 0.90)]
    front = make_front(members)
    assert [pick.member.trial for pick in pick_members(front, n_samples) if pick.member] == (
        [expected] * 5
    )
    cheaper = find_cheaper(members[2], front, n_samples)
    assert (None if cheaper is None else cheaper.trial) == (2 if expected == 2 else None)


def test_less_is_better_where_the_metric_is_minimized() -> None:
    rmse = Aim(name="rmse", direction="minimize")
    members = [
        replace(make_member(i, 10 * i, 0.5), validation={"rmse": value})
        for i, value in enumerate((0.9, 0.7, 0.7, 0.8), 1)
    ]
    found = recommend(members, rmse, 0)
    assert found is not None
    assert found.trial == 2


def test_what_is_cheaper_for_a_budget_has_less_of_all_that_it_bounds() -> None:
    sizes = ({"macs": 10, "params": 90}, {"macs": 20, "params": 50}, {"macs": 30, "params": 60})
    members = [
        replace(make_member(i, 1, 0.9), footprint=footprint) for i, footprint in enumerate(sizes)
    ]
    front = make_front(members)
    for budget, expected in (
        ("macs<=25%", 0),
        ("macs<=25% and params<=70", 1),
        ("accuracy>=0.5", None),
        ("macs>=5", None),
        ("of other hands", None),
    ):
        found = find_cheaper_within(budget, members[2], front, 100)
        assert (None if found is None else found.trial) == expected, budget
    timed = replace(members[2], footprint=sizes[2] | {"latency": 1.0}, measured_latency_share=0.5)
    assert find_cheaper_within("latency<=50%", timed, front, 100) is None


def test_the_example_may_be_as_far_from_the_full_net_as_validation_cannot_tell() -> None:
    front = make_front([make_member(1, 10, 0.955), make_member(2, 20, 0.975)])
    trials = [
        example.trial for n in (0, 20) if (example := pick_example(front, n)) is not None
    ]  # the full net's 0.98 has a standard error of 0.031 on 20 samples
    assert trials == [2, 1]
