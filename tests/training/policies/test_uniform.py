from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.training.policies import UniformPolicy
from dpod_search.training.policies.drawing import list_ratios
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import WidthSpace
from dpod_search.widths import round_width


RATIOS = tuple(i / 8 for i in range(1, 9))


def collect(space, n_steps, **options):
    policy = UniformPolicy(make_context(space, n_steps=n_steps, **options))
    return run_policy(policy, range(n_steps))


@given(
    fulls=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    ratios=st.sets(st.sampled_from(RATIOS), min_size=1),
    seed=st.integers(0, 100),
)
def test_all_groups_have_one_ratio_of_the_ladder_rounded_as_the_space_rounds(fulls, ratios, seed):
    # The widest group has a multiple of eight channels, so that its rungs are the ratios exactly.
    full_widths = {**{f"g{i}": full for i, full in enumerate(fulls)}, "widest": 72}
    space = WidthSpace.from_ratios(full_widths, sorted(ratios))
    ladder = sorted({*ratios, 1.0})
    uniform = [tuple(round_width(f, r) for f in full_widths.values()) for r in ladder]
    for plan in collect(space, 10, seed=seed):
        assert all(widths.active in uniform for widths in plan.partial)


def test_with_a_teacher_every_reduced_ratio_is_as_likely():
    space = WidthSpace.from_ratios({"a": 8, "b": 16})
    plans = collect(space, 3500)
    assert all(plan.full and len(plan.partial) == 1 for plan in plans)
    counts = Counter(plan.partial[0]["a"] for plan in plans)
    # Each of 7 ratios is drawn 500 times, with a standard deviation of 21.
    assert sorted(counts) == list(range(1, 8))
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_without_a_teacher_one_net_runs_and_the_full_one_has_its_turn():
    space = WidthSpace.from_ratios({"a": 8, "b": 16})
    plans = collect(space, 800, distills=False)
    assert all(plan.full != bool(plan.partial) for plan in plans)
    # 100 times of 800, with a standard deviation of 9.
    assert 55 < sum(plan.full for plan in plans) < 145


def test_a_block_stays_as_often_as_the_ratio_says():
    space = WidthSpace(("a", "block"), ((2, 4, 6, 8), BLOCK_RUNGS))
    partial = [plan.partial[0] for plan in collect(space, 3000)]
    for width in (2, 4, 6):
        there = [widths["block"] for widths in partial if widths["a"] == width]
        # About 1,000 draws: a standard deviation of at most .016.
        assert sum(there) / len(there) == pytest.approx(width / 8, abs=0.07)


def test_where_only_blocks_can_go_each_stays_every_second_time():
    space = WidthSpace(("block1", "block2"), (BLOCK_RUNGS, BLOCK_RUNGS))
    seen = {widths.active for plan in collect(space, 100) for widths in plan.partial}
    assert seen == {(0, 0), (0, 1), (1, 0)}  # with both, it is the full net, which teaches


@pytest.mark.parametrize(
    ("rungs", "ladder"),
    [
        (((1, 2, 3), (4, 6, 8), BLOCK_RUNGS), (0.5, 0.75, 1)),
        (((1, 4), (2, 4, 8)), (0.25, 0.5, 1)),
        (((5,),), (1,)),
        ((BLOCK_RUNGS,), (1,)),
    ],
)
def test_the_ladder_is_that_of_the_group_with_the_finest_one(rungs, ladder):
    names = tuple(f"g{i}" for i in range(len(rungs)))
    assert list_ratios(WidthSpace(names, rungs)) == pytest.approx(ladder)
