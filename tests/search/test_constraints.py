from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search.constraints import parse_constraints


FULL = {"macs": 2_000_000.0, "params": 5_000.0}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("<= 40%", 800_000),
        ("<=1.5M", 1_500_000),
        (" <= 300 k ", 300_000),
        ("<= 2G", 2e9),
        ("<= 12_345", 12_345),
        ("<= 1e6", 1e6),
        ("<= .5%", 10_000),
    ],
)
def test_bounds_are_read(text, limit):
    (bound,) = parse_constraints({"macs": text}, FULL).bounds
    assert bound.limit == pytest.approx(limit)


@pytest.mark.parametrize("text", ["", "40%", ">= 40%", "< 5", "<= 5 MB", "<= x", "<= -3", "<= 0"])
def test_bounds_that_cannot_be_read_are_config_errors(text):
    with pytest.raises(ConfigError, match="constraint on macs"):
        parse_constraints({"macs": text}, FULL)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean params"):
        parse_constraints({"param": "<= 5"}, FULL)


def test_measured_objectives_cannot_be_bounded():
    with pytest.raises(ConfigError, match="accuracy is measured"):
        parse_constraints({"accuracy": "<= 0.5"}, FULL, ["accuracy"])


@given(st.floats(1, 1e9), st.floats(1, 1e9))
def test_a_violation_is_a_share_of_the_bound_and_its_sign_says_feasible(macs, limit):
    constraints = parse_constraints({"macs": f"<= {limit!r}"}, FULL)
    limit = constraints.bounds[0].limit
    violation = constraints.violations({"macs": macs})["macs"]
    assert violation == pytest.approx(macs / limit - 1, abs=1e-9)
    assert (violation <= 0) == constraints.are_met({"macs": macs})
    assert bool(constraints.explain({"macs": macs})) == (violation > 0)


def test_the_smallest_subnet_decides_what_can_be_reached():
    constraints = parse_constraints({"macs": "<= 1k"}, FULL)
    constraints.check_reachable({"macs": 1000.0})
    with pytest.raises(InfeasibleError, match=r"macs <= 1k .* smallest has 1001"):
        constraints.check_reachable({"macs": 1001.0})
