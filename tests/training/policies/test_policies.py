from __future__ import annotations

import pytest
from training.policies.contract import PolicyContract
from training.policies.contract import make_context

from dpod_search.errors import ConfigError
from dpod_search.training import POLICIES
from dpod_search.training.policies import DpodOptions
from dpod_search.training.policies import make_options
from dpod_search.training.policies import make_policy


@pytest.fixture(params=sorted(POLICIES))
def name(request):
    return request.param


class TestEveryPolicyKeepsTheContract(PolicyContract):
    @pytest.fixture
    def make(self, name):
        return lambda context: make_policy(name, {}, context)


def test_options_are_made_by_name():
    assert make_options("dpod", {"n_profiles": 5}) == DpodOptions(n_profiles=5)


def test_an_unknown_policy_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"training.policy must be one of .*'dpod'.*'dpad'"):
        make_policy("dpad", {}, make_context())


def test_an_unknown_option_is_named(name):
    with pytest.raises(ConfigError, match=f"training.policy_options of {name}.*'n_profile'"):
        make_policy(name, {"n_profile": 3}, make_context())


def test_an_option_of_another_type_is_a_config_error():
    with pytest.raises(ConfigError, match=r"training\.policy_options of dpod"):
        make_options("dpod", {"n_profiles": "many"})
