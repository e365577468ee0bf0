from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.fakes import make_space
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training.policies import ProgressiveOptions
from dpod_search.training.policies import ProgressivePolicy
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import WidthSpace


def find_narrowest(plans, space, group):
    """The lowest rung of a group in some plans, counted from the top."""
    rungs = space.rungs[space.names.index(group)]
    return min(rungs.index(w[group]) for plan in plans for w in plan.partial)


def test_each_phase_opens_one_more_rung_from_the_top():
    space = make_space(3, 5)
    context = make_context(space, n_steps=1000)
    options = ProgressiveOptions(warmup_share=0.2, growth_end=0.8, n_subnets=4)
    plans = run_policy(ProgressivePolicy(context, options), range(1000))
    assert not any(plan.partial for plan in plans[:200])
    # Four phases, which begin at 20, 40, 60 and 80 %.
    for number, first in enumerate((200, 400, 600, 800)):
        for group in space.names:
            assert find_narrowest(plans[first : first + 200], space, group) == 3 - number
    assert all(plan.full for plan in plans)


def test_fewer_phases_open_several_rungs_and_ladders_end_together():
    space = WidthSpace(("a", "b", "block"), (tuple(range(1, 8)), (2, 4, 8), BLOCK_RUNGS))
    context = make_context(space, n_steps=400)
    options = ProgressiveOptions(warmup_share=0, growth_end=0.5, n_phases=2, n_subnets=4)
    plans = run_policy(ProgressivePolicy(context, options), range(400))
    lowest = [
        [find_narrowest(part, space, group) for group in space.names]
        for part in (plans[:200], plans[200:])
    ]
    # A block has one reduced rung, which the first phase opens.
    assert lowest == [[3, 1, 0], [0, 0, 0]]


def test_all_open_rungs_are_as_likely():
    context = make_context(make_space(1, 4), n_steps=4000, distills=False)
    options = ProgressiveOptions(warmup_share=0, growth_end=0)
    plans = run_policy(ProgressivePolicy(context, options), range(4000))
    for width in context.space.rungs[0][:-1]:
        # 1,000 times of 4,000, with a standard deviation of 27.
        count = sum(plan.partial != () and plan.partial[0].active == (width,) for plan in plans)
        assert abs(count - 1000) < 140


@given(n_steps=st.integers(1, 6), growth_end=st.floats(0.25, 1))
def test_the_last_step_has_everything_open_however_short_the_training(n_steps, growth_end):
    context = make_context(make_space(4, 8), n_steps=n_steps)
    options = ProgressiveOptions(growth_end=growth_end, n_subnets=50)
    plan = ProgressivePolicy(context, options).plan(n_steps - 1)
    assert all(find_narrowest([plan], context.space, g) == 0 for g in context.space.names)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("warmup_share", -0.1),
        ("warmup_share", 1.0),
        ("growth_end", 0.1),  # before the warm-up ends
        ("growth_end", math.nan),
        ("n_phases", 0),
        ("n_subnets", 0),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        ProgressiveOptions(**{option: value})
