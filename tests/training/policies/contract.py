"""What every training policy must keep to, whoever wrote it: subclass and give ``make``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from search.fakes import ChainFootprint
from search.fakes import compute_accuracy
from search.fakes import make_space

from dpod_search.training import Policy
from dpod_search.training import PolicyContext
from dpod_search.training.policies import Plan
from dpod_search.widths import WidthSpace


MakePolicy = Callable[[PolicyContext], Policy]


def make_context(
    space: WidthSpace | None = None, *, n_steps: int = 60, seed: int = 0, distills: bool = True
) -> PolicyContext:
    """Make a context whose costs and qualities are known in closed form."""
    space = space or make_space()
    footprint = ChainFootprint()
    return PolicyContext(
        space=space,
        cost=lambda widths: footprint.measure(widths)["macs"],
        score=lambda widths, *n_images: compute_accuracy(widths, space),
        n_steps=n_steps,
        seed=seed,
        distills=distills,
    )


def run_policy(policy: Policy, steps: range) -> list[Plan]:
    """Walk through steps as the loop does."""
    plans = []
    for step in steps:
        policy.begin_step(step)
        plans.append(policy.plan(step))
    return plans


class PolicyContract:
    """Subclass, and define a fixture ``make`` that makes the policy from a context."""

    N_STEPS = 60

    @pytest.fixture
    def make(self) -> MakePolicy:
        raise NotImplementedError

    @pytest.fixture
    def trains_subnets(self) -> bool:
        return True

    @pytest.fixture
    def context(self) -> PolicyContext:
        return make_context(n_steps=self.N_STEPS)

    def test_every_step_trains_something_of_the_space(self, make, context):
        for plan in run_policy(make(context), range(self.N_STEPS)):
            assert plan.full or plan.partial
            for widths in plan.partial:
                context.space.check(widths)

    def test_the_same_seed_gives_the_same_plans_and_path(self, make, context):
        found = []
        for number in range(2):
            # The global generators have no say.
            random.seed(number)
            np.random.seed(number)  # noqa: NPY002
            torch.manual_seed(number)
            policy = make(context)
            found.append((run_policy(policy, range(self.N_STEPS)), policy.path()))
        assert found[0] == found[1]

    def test_a_plan_depends_on_the_step_and_the_state_alone(self, make, context):
        policy = make(context)
        for step in range(self.N_STEPS):
            policy.begin_step(step)
            state = json.dumps(policy.state())
            plan = policy.plan(step)
            for other in (0, step + 1, self.N_STEPS - 1):
                policy.plan(other)
            assert policy.plan(step) == plan
            assert json.dumps(policy.state()) == state

    def test_beginning_a_step_twice_changes_nothing(self, make, context):
        policy, plain = make(context), make(context)
        for step in range(self.N_STEPS):
            policy.begin_step(step)
            policy.begin_step(step)
            plain.begin_step(step)
            assert policy.plan(step) == plain.plan(step)
        assert policy.path() == plain.path()

    @pytest.mark.parametrize("n_done", [0, 1, 15, 16, 17, 30, 51, 59])
    def test_the_state_goes_through_json_and_the_rest_is_the_same(self, make, context, n_done):
        whole = make(context)
        run_policy(whole, range(n_done))
        restored = make(context)
        restored.restore(json.loads(json.dumps(whole.state(), allow_nan=False)))
        rest = range(n_done, self.N_STEPS)
        assert run_policy(restored, rest) == run_policy(whole, rest)
        assert restored.path() == whole.path()
        assert json.dumps(restored.state()) == json.dumps(whole.state())

    @pytest.mark.parametrize("n_steps", [1, 2, 3, 5, 60])
    def test_the_path_if_any_leads_from_the_full_net_to_the_floor(self, make, n_steps):
        context = make_context(n_steps=n_steps)
        policy = make(context)
        run_policy(policy, range(n_steps))
        path = policy.path()
        if not path:
            return
        assert path[0] == context.space.full
        if path[1:]:  # else no subnet was trained
            assert path[-1] == context.space.smallest
        costs = [context.cost(widths) for widths in path]
        assert costs == sorted(costs, reverse=True)

    def test_a_space_without_a_choice_is_trained_all_the_same(self, make):
        context = make_context(WidthSpace(("a", "b"), ((4,), (8,))), n_steps=8)
        policy = make(context)
        for plan in run_policy(policy, range(8)):
            assert plan.full or plan.partial
            assert set(plan.partial) <= {context.space.full}

    def test_one_group_of_two_rungs_is_enough(self, make, trains_subnets):
        context = make_context(WidthSpace(("a",), ((4, 8),)), n_steps=20)
        seen = {w for plan in run_policy(make(context), range(20)) for w in plan.partial}
        assert (context.space.smallest in seen) == trains_subnets
