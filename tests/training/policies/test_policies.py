from __future__ import annotations

import dataclasses

import pytest
from training.policies.contract import PolicyContract
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.errors import ConfigError
from dpod_search.training import POLICIES
from dpod_search.training.policies import DpodOptions
from dpod_search.training.policies import make_options
from dpod_search.training.policies import make_policy
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import WidthSpace


@pytest.fixture(params=sorted(POLICIES))
def name(request):
    return request.param


@pytest.fixture
def trains_subnets(name):
    return name != "dense"


class NamedContract(PolicyContract):
    @pytest.fixture
    def trains_subnets(self, name):
        return name != "dense"


class TestEveryPolicyKeepsTheContract(NamedContract):
    @pytest.fixture
    def make(self, name):
        return lambda context: make_policy(name, {}, context)


class TestEveryPolicyKeepsTheContractWithoutDistillation(NamedContract):
    @pytest.fixture
    def make(self, name):
        return lambda context: make_policy(name, {}, dataclasses.replace(context, distills=False))


class TestEveryPolicyKeepsTheContractWithBlocks(NamedContract):
    @pytest.fixture
    def context(self):
        rungs = ((2, 4, 6, 8), (4, 8), BLOCK_RUNGS, BLOCK_RUNGS)
        names = ("conv", "inner", "block1", "block2")
        space = WidthSpace(names, rungs, inside=(("block1", ("inner",)),))
        return dataclasses.replace(
            make_context(space, n_steps=self.N_STEPS), cost=lambda w: 1.0 + sum(w.active)
        )

    @pytest.fixture
    def make(self, name):
        return lambda context: make_policy(name, {}, context)

    def test_blocks_are_trained_removed_and_there(self, make, context, trains_subnets):
        plans = run_policy(make(context), range(self.N_STEPS))
        seen = {w["block1"] for plan in plans for w in plan.partial}
        assert seen == ({0, 1} if trains_subnets else set())


def test_who_teaches_runs(name):
    for plan in run_policy(make_policy(name, {}, make_context()), range(60)):
        assert plan.full


def test_no_step_runs_the_same_subnet_twice(name):
    context = make_context(WidthSpace(("a",), ((4, 8),)), n_steps=40)
    for plan in run_policy(make_policy(name, {}, context), range(40)):
        nets = [*plan.partial, *([context.space.full] if plan.full else [])]
        assert len(set(nets)) == len(nets)


def test_other_seeds_train_other_subnets(name, trains_subnets):
    plans = [
        run_policy(make_policy(name, {}, make_context(seed=seed)), range(60)) for seed in (0, 1)
    ]
    assert (plans[0] != plans[1]) == trains_subnets


def test_options_are_made_by_name():
    assert make_options("dpod", {"n_profiles": 5}) == DpodOptions(n_profiles=5)


def test_an_unknown_policy_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"training.policy must be one of .*'dpod'.*'dpad'"):
        make_policy("dpad", {}, make_context())


def test_an_unknown_option_is_named(name):
    with pytest.raises(ConfigError, match=f"training.policy_options of {name}.*'n_profile'"):
        make_policy(name, {"n_profile": 3}, make_context())


def test_an_option_of_another_type_is_a_config_error():
    with pytest.raises(
        ConfigError, match="n_profiles must be a whole number >= 2 and .*, got 'many'"
    ):
        make_options("dpod", {"n_profiles": "many"})


each_count = pytest.mark.parametrize(
    ("name", "option"),
    [
        ("dpod", "n_profiles"),
        ("independent", "n_subnets"),
        ("sandwich", "n_random"),
        ("progressive", "n_phases"),
        ("progressive", "n_subnets"),
        ("delayed", "n_random"),
    ],
)


@each_count
@pytest.mark.parametrize("value", [True, False])
def test_truth_is_no_count(name, option, value):
    message = rf"training\.policy_options of {name}: {option} must be a whole number, got {value}"
    with pytest.raises(ConfigError, match=message):
        make_options(name, {option: value})


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("dpod", "warmup_share"),
        ("dpod", "growth_end"),
        ("independent", "warmup_share"),
        ("progressive", "growth_end"),
        ("delayed", "start_share"),
        ("delayed", "epsilon"),
        ("delayed", "ramp_share"),
    ],
)
@pytest.mark.parametrize("value", ["x", "0.5", True, None, [0.5]])
def test_shares_are_numbers(name, option, value):
    with pytest.raises(ConfigError) as caught:
        make_options(name, {option: value})
    assert str(caught.value) == (
        f"training.policy_options of {name}: {option} must be a number, got {value!r}"
    )


@each_count
@pytest.mark.parametrize("value", [2.5, "two", -1])
def test_counts_are_whole_numbers(name, option, value):
    with pytest.raises(ConfigError, match=f"{option} must be a whole number >= .*, got"):
        make_options(name, {option: value})
