from __future__ import annotations

from itertools import pairwise

import pytest
from search.fakes import make_space
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training.policies import DelayedOptions
from dpod_search.training.policies import DelayedPolicy


def test_the_full_net_trains_alone_for_half_of_the_steps_and_then_in_a_sandwich():
    context = make_context(make_space(6, 8), n_steps=100)
    plans = run_policy(DelayedPolicy(context), range(100))
    assert all(plan.full for plan in plans)
    assert not any(plan.partial for plan in plans[:50])
    for plan in plans[50:]:
        assert plan.partial[0] == context.space.smallest
        assert len(plan.partial) == 3


def test_the_rates_of_the_subnets_grow_evenly_from_epsilon_to_the_whole():
    context = make_context(make_space(6, 8), n_steps=100)
    options = DelayedOptions(start_share=0.3, epsilon=0.2, ramp_share=0.4, n_random=1)
    plans = run_policy(DelayedPolicy(context, options), range(100))
    ramp, rest = plans[30:70], plans[70:]
    shares = [plan.rates[0] for plan in ramp]
    assert shares[0] == pytest.approx(0.2)
    assert all(b - a == pytest.approx(0.8 / 40) for a, b in pairwise([*shares, 1.0]))
    assert all(plan.rates == (share, share) for plan, share in zip(ramp, shares, strict=True))
    assert all(plan.rates == () for plan in rest)  # the whole


@pytest.mark.parametrize("option", [{"ramp_share": 0}, {"epsilon": 1}])
def test_without_a_slow_start_subnets_have_the_whole_rate_at_once(option):
    context = make_context(n_steps=40)
    plans = run_policy(DelayedPolicy(context, DelayedOptions(**option)), range(40))
    assert all(plan.rates == () for plan in plans)


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_subnets_are_trained_however_short_the_training(n_steps):
    context = make_context(n_steps=n_steps)
    policy = DelayedPolicy(context, DelayedOptions(start_share=0.99))
    assert policy.plan(n_steps - 1).partial


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("start_share", 1.0),
        ("start_share", -0.1),
        ("epsilon", 0),
        ("epsilon", 1.1),
        ("ramp_share", -0.1),
        ("ramp_share", 1.1),
        ("n_random", -1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        DelayedOptions(**{option: value})
