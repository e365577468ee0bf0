from __future__ import annotations

from collections import Counter

import pytest
from search.fakes import make_space
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training.policies import IndependentOptions
from dpod_search.training.policies import IndependentPolicy


def test_every_pair_of_rungs_of_two_groups_is_as_likely():
    context = make_context(make_space(2, 3), n_steps=2700, distills=False)
    counts = Counter()
    for plan in run_policy(IndependentPolicy(context), range(2700)):
        # The full net is a draw like any other.
        nets = plan.partial or (context.space.full,)
        counts[context.space.to_rungs(nets[0])] += 1
    # Each of 9 pairs comes 300 times, with a standard deviation of 16.
    assert len(counts) == 9
    assert all(abs(count - 300) < 80 for count in counts.values())


@pytest.mark.parametrize("n", [1, 4])
def test_a_step_draws_as_many_as_it_is_told(n):
    context = make_context(make_space(6, 8))
    for plan in run_policy(IndependentPolicy(context, IndependentOptions(n_subnets=n)), range(60)):
        assert len(plan.partial) == n
        assert plan.full
        assert plan.rates == ()


def test_without_a_teacher_the_full_net_does_not_run():
    context = make_context(make_space(6, 8), distills=False)
    assert not any(plan.full for plan in run_policy(IndependentPolicy(context), range(60)))


def test_the_warm_up_trains_the_full_net_alone():
    context = make_context(make_space(6, 8), n_steps=60, distills=False)
    options = IndependentOptions(warmup_share=0.5)
    plans = run_policy(IndependentPolicy(context, options), range(60))
    assert [plan.full for plan in plans] == [True] * 30 + [False] * 30
    assert [len(plan.partial) for plan in plans] == [0] * 30 + [1] * 30


def test_options_out_of_range_are_named():
    with pytest.raises(ConfigError, match="warmup_share"):
        IndependentOptions(warmup_share=1.0)
    with pytest.raises(ConfigError, match="n_subnets"):
        IndependentOptions(n_subnets=0)
