from __future__ import annotations

import pytest
from search.fakes import make_space
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training.policies import SandwichOptions
from dpod_search.training.policies import SandwichPolicy


@pytest.mark.parametrize("distills", [True, False])
@pytest.mark.parametrize("n", [0, 2, 3])
def test_a_step_runs_the_ends_of_the_space_and_random_nets_between(distills, n):
    context = make_context(make_space(6, 8), distills=distills)
    policy = SandwichPolicy(context, SandwichOptions(n_random=n))
    seen = set()
    for plan in run_policy(policy, range(60)):
        assert plan.full
        assert plan.partial[0] == context.space.smallest
        assert len(plan.partial) == 1 + n
        assert plan.rates == ()
        seen.update(plan.partial[1:])
    assert len(seen) == 60 * n  # of 8**6 subnets none comes twice
    for group in context.space.names if n else ():
        assert {widths[group] for widths in seen} == set(
            context.space.rungs[context.space.names.index(group)]
        )


def test_options_out_of_range_are_named():
    with pytest.raises(ConfigError, match="n_random"):
        SandwichOptions(n_random=-1)
