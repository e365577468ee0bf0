from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from search.fakes import make_space
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training import PolicyContext
from dpod_search.training.policies import DpodOptions
from dpod_search.training.policies import DpodPolicy
from dpod_search.widths import WidthSpace


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("warmup_share", -0.1),
        ("warmup_share", 1.0),
        ("growth_end", 0.1),  # before the warm-up ends
        ("growth_end", 1.1),
        ("growth_end", math.nan),
        ("n_profiles", 1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        DpodOptions(**{option: value})


def count_differences(widths, profile):
    return sum(a != b for a, b in zip(widths.active, profile.active, strict=True))


def is_narrowing_of(widths, profile):
    """Say whether one group at most differs, and none is wider."""
    narrower = all(a <= b for a, b in zip(widths.active, profile.active, strict=True))
    return narrower and count_differences(widths, profile) <= 1


def test_the_warm_up_trains_the_full_net_alone():
    plans = run_policy(DpodPolicy(make_context(n_steps=100)), range(100))
    assert all(plan.full for plan in plans)
    assert all(not plan.partial for plan in plans[:25])
    assert all(len(plan.partial) == 1 for plan in plans[25:])


def test_without_warm_up_the_first_step_narrows():
    policy = DpodPolicy(make_context(n_steps=10), DpodOptions(warmup_share=0))
    policy.begin_step(0)
    assert policy.plan(0).partial


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), n_groups=st.integers(1, 5), n_rungs=st.integers(2, 8))
def test_a_step_narrows_one_group_of_a_profile_of_the_path(seed, n_groups, n_rungs):
    context = make_context(make_space(n_groups, n_rungs), n_steps=40, seed=seed)
    policy = DpodPolicy(context)
    for step in range(40):
        policy.begin_step(step)
        for widths in policy.plan(step).partial:
            assert any(is_narrowing_of(widths, profile) for profile in policy.path())


@given(seed=st.integers(0, 1000))
def test_before_the_path_grows_just_one_group_is_narrower(seed):
    context = make_context(n_steps=200, seed=seed)
    policy = DpodPolicy(context)  # no step begins, so its path is the full net
    for step in range(50, 200):
        (widths,) = policy.plan(step).partial
        assert count_differences(widths, context.space.full) == 1


@given(seed=st.integers(0, 1000))
def test_every_pair_of_group_and_rung_comes_once_in_a_pass(seed):
    space = WidthSpace(("a", "b", "c"), ((1, 2, 3, 4), (5, 10), (2, 4, 8)))
    pairs = {("a", 1), ("a", 2), ("a", 3), ("b", 5), ("c", 2), ("c", 4)}
    context = make_context(space, n_steps=40, seed=seed)
    policy = DpodPolicy(context, DpodOptions(warmup_share=0.25))
    orders = []
    for first in (10, 16, 22, 28):
        order = []
        for step in range(first, first + 6):
            (widths,) = policy.plan(step).partial
            order += [(n, widths[n]) for n in space.names if widths[n] != space.full[n]]
        assert set(order) == pairs
        assert len(order) == len(pairs)
        orders.append(tuple(order))
    assert len(set(orders)) > 1  # shuffled anew every time


def test_a_narrowed_profile_gives_every_rung_below_it():
    space = WidthSpace(("a",), ((1, 2, 3, 4, 5, 6),))
    policy = DpodPolicy(make_context(space))
    for top in range(6):
        profile = space.from_rungs([top])
        reached = {policy._narrow(profile, 0, reduced)["a"] for reduced in range(5)}
        # The full net narrows to each rung below it; a narrow profile also stays as it is.
        assert reached == set(range(1, min(top + 1, 5) + 1))


def shrink_by_brute_force(context, n_profiles):
    """Follow the definition: at each shrink the least quality lost per log macs saved."""
    space = context.space
    low, high = (math.log(context.cost(w)) for w in (space.smallest, space.full))
    path, n_shrinks, overshoots = [space.full], [], []
    rungs = list(space.to_rungs(space.full))
    for index in range(1, n_profiles):
        target = high + index / (n_profiles - 1) * (low - high) + 1e-9
        n, before = 0, math.inf
        while math.log(context.cost(space.from_rungs(rungs))) > target:
            now = space.from_rungs(rungs)
            before = math.log(context.cost(now))
            prices = {}
            for group in range(len(rungs)):
                if rungs[group] > 0:
                    tried = list(rungs)
                    tried[group] -= 1
                    smaller = space.from_rungs(tried)
                    lost = context.score(now) - context.score(smaller)
                    prices[group] = lost / (before - math.log(context.cost(smaller)))
            rungs[min(prices, key=prices.get)] -= 1
            n += 1
        path.append(space.from_rungs(rungs))
        n_shrinks.append(n)
        overshoots.append(before > target)
    return path, n_shrinks, overshoots


def make_separable_context(space):
    """Make a context where what a group's rung loses does not depend on the other groups."""
    plain = make_context(space, n_steps=50)

    def score(widths):
        ratios = [w / rungs[-1] for w, rungs in zip(widths.active, space.rungs, strict=True)]
        return 1 - sum(math.exp(-3 * ratio) / (1 + i) for i, ratio in enumerate(ratios))

    return replace(plain, score=score)


@pytest.mark.parametrize("n_profiles", [2, 3, 6, 14])
@pytest.mark.parametrize("n_groups", [1, 3, 5])
def test_each_shrink_is_the_greedy_one(n_profiles, n_groups):
    context = make_separable_context(make_space(n_groups, 8))
    policy = DpodPolicy(context, DpodOptions(n_profiles=n_profiles))
    run_policy(policy, range(50))
    path, _, _ = shrink_by_brute_force(context, n_profiles)
    expected = path[: path.index(context.space.smallest) + 1]
    assert list(policy.path()) == expected


def test_a_shrink_scores_few_subnets():
    asked = []
    context = make_separable_context(make_space(8, 8))
    counted = replace(context, score=lambda w: asked.append(w) or context.score(w))
    policy = DpodPolicy(counted, DpodOptions(n_profiles=6))
    run_policy(policy, range(50))
    n_shrinks = 8 * 7
    # One score at the beginning of each profile, one of each group, and a few for each shrink;
    # scoring every group for every shrink would take more than 8 * 7 * 8 / 2.
    assert len(asked) <= 5 * (1 + 8) + 2 * n_shrinks


def test_noise_in_the_scores_is_followed_not_smoothed():
    space = make_space(4, 6)

    def score(widths):
        return (hash(widths.active) % 1000) / 1000

    context = PolicyContext(space, make_context(space).cost, score, 50, 0)
    policy = DpodPolicy(context, DpodOptions(n_profiles=20))
    run_policy(policy, range(50))
    # The first shrink of every profile scores all groups, and takes the one that is cheapest.
    for before, after in pairwise(policy.path()):
        if sum(space.to_rungs(before)) - sum(space.to_rungs(after)) == 1:
            prices = {
                narrower: (score(before) - score(narrower))
                / math.log(context.cost(before) / context.cost(narrower))
                for group, rung in enumerate(space.to_rungs(before))
                if rung > 0
                for narrower in [before.replace(space.names[group], space.rungs[group][rung - 1])]
            }
            assert after == min(prices, key=prices.get)


@pytest.mark.parametrize("n_profiles", [2, 5, 14])
def test_profiles_are_evenly_spaced_in_log_macs_within_one_shrink(n_profiles):
    context = make_context(make_space(6, 8), n_steps=100)
    policy = DpodPolicy(context, DpodOptions(n_profiles=n_profiles))
    run_policy(policy, range(100))
    path = policy.path()
    assert len(path) == n_profiles
    costs = [math.log(context.cost(widths)) for widths in path]
    assert all(later < earlier for earlier, later in pairwise(costs))
    for index, cost in enumerate(costs):
        target = costs[0] + index / (n_profiles - 1) * (costs[-1] - costs[0])
        assert cost <= target + 1e-6
    # The last shrink before each profile started from above its target.
    _, n_shrinks, started_above = shrink_by_brute_force(context, n_profiles)
    assert all(n > 0 for n in n_shrinks)
    assert all(started_above)


def test_the_path_grows_at_even_intervals_from_the_warm_up_to_the_end_of_growth():
    options = DpodOptions(warmup_share=0.2, growth_end=0.8, n_profiles=7)
    policy = DpodPolicy(make_context(make_space(6, 8), n_steps=100), options)
    grew = []
    for step in range(100):
        before = len(policy.path())
        policy.begin_step(step)
        grew += [step] * (len(policy.path()) - before)
    assert grew == [20, 32, 44, 56, 68, 80]


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("growth_end", [0.85, 1.0])
def test_the_floor_is_reached_however_short_the_training(n_steps, growth_end):
    context = make_context(n_steps=n_steps)
    policy = DpodPolicy(context, DpodOptions(growth_end=growth_end))
    run_policy(policy, range(n_steps))
    assert policy.path()[-1] == context.space.smallest


def test_after_a_jump_the_path_catches_up():
    # A resumed training begins at a late step, with a path that is behind.
    context = make_context(make_space(6, 8), n_steps=100)
    policy = DpodPolicy(context)
    policy.begin_step(99)
    assert len(policy.path()) == 14


def test_other_seeds_train_other_subnets():
    plans = [run_policy(DpodPolicy(make_context(seed=seed)), range(60)) for seed in (0, 1)]
    assert plans[0] != plans[1]
