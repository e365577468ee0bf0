"""Bounds: what is within them, by how much others are beyond, and what a budget is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.bounds import Bound
from dpod_search.bounds import split_bounds
from dpod_search.bounds import split_budgets
from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search import Objective
from dpod_search.search.constraints import parse_constraints


FULL = {"macs": 2_000_000.0, "params": 5_000.0}
ACCURACY = Objective("accuracy", "maximize", len)
LATENCY = Objective("latency_ms", "minimize", len)
OBJECTIVES = (ACCURACY, LATENCY, Objective("macs", "minimize", needs="footprint"))
MEASURED_FULL = {"accuracy": 0.8, "latency_ms": 50.0, "macs": 2_000_000.0}


def parse(**specs):
    return parse_constraints(specs, FULL, OBJECTIVES)


@given(st.floats(1, 1e9), st.floats(1, 1e9))
def test_a_violation_is_a_share_of_the_bound_and_its_sign_says_feasible(macs, limit):
    constraints = parse(macs=f"<= {limit!r}")
    limit = constraints.bounds[0].limit
    violation = constraints.violations({"macs": macs})["macs"]
    assert violation == pytest.approx(macs / limit - 1, rel=1e-9, abs=1e-9)
    assert (violation <= 0) == constraints.are_met({"macs": macs})
    assert bool(constraints.explain({"macs": macs})) == (violation > 0)


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_lower_bound_is_violated_from_below(value, limit):
    score = Objective("score", "maximize", len)
    constraints = parse_constraints({"score": f">= {limit!r}"}, FULL, [score])
    violation = constraints.violations({"score": value})["score"]
    scale = abs(limit) if abs(limit) > 1e-12 else 1
    assert violation * scale == pytest.approx(limit - value)
    assert constraints.are_met({"score": value}) == (value >= limit) == (violation <= 0)
    assert bool(constraints.explain({"score": value})) == (value < limit)


def test_measured_bounds_are_asked_once_their_values_are_known():
    constraints = parse(accuracy=">= 0.9", macs="<= 1M", latency_ms="<= 20")
    footprint = {"macs": 500_000.0, "params": 1.0}
    assert constraints.are_met(footprint)
    assert constraints.violations(footprint) == {"macs": -0.5}
    values = {**footprint, "accuracy": 0.45, "latency_ms": 30.0}
    assert not constraints.are_met(values)
    assert constraints.violations(values) == pytest.approx(
        {"accuracy": 0.5, "macs": -0.5, "latency_ms": 0.5}
    )
    assert list(constraints.violations(values)) == ["accuracy", "macs", "latency_ms"]
    assert (
        constraints.explain(values) == "accuracy 0.45 is below 0.9; latency_ms 30 ms is above 20"
    )
    assert constraints.are_met({**footprint, "accuracy": 0.9, "latency_ms": 20.0})


def test_arrays_are_asked_as_single_values_are():
    values = np.array([0.0, 0.9, 1.0, math.nan])
    constraints = parse(accuracy=">= 0.9", macs="<= 1M", latency_ms="<= 90%")
    assert len(constraints) == 3
    for bound in constraints:
        for scale in (1.0, 2e6):
            assert bound.is_met(scale * values).tolist() == [
                bound.is_met(scale * value) for value in values.tolist()
            ]


def test_a_violation_is_positive_beyond_a_bound_of_either_sense():
    values = np.array([1.0, 2.0, 3.0])
    assert Bound("x", 2.0, "<= 2").measure_violation(values).tolist() == [-0.5, 0, 0.5]
    assert Bound("x", 2.0, ">= 2", ">=").measure_violation(values).tolist() == [0.5, 0, -0.5]


def test_exact_and_measured_bounds_are_told_apart():
    constraints = parse(accuracy=">= 0.9", macs="<= 1M", latency_ms="<= 20", params="<= 50%")
    assert [bound.name for bound in constraints.exact] == ["macs", "params"]
    assert [bound.name for bound in constraints.measured] == ["accuracy", "latency_ms"]
    assert not constraints.needs_full


def test_percentages_of_measured_values_wait_for_the_full_net():
    constraints = parse(accuracy=">= 95%", latency_ms="<= 40%", macs="<= 50%")
    assert constraints.needs_full
    hopeless = {"accuracy": 0.0, "latency_ms": 1e9, "macs": 1.0}
    assert constraints.violations(hopeless) == {"macs": pytest.approx(1e-6 - 1)}
    assert constraints.are_met(hopeless)
    assert constraints.explain(hopeless) == ""

    resolved = constraints.resolve(MEASURED_FULL)
    assert not resolved.needs_full
    limits = {bound.name: bound.limit for bound in resolved.bounds}
    assert limits == pytest.approx({"accuracy": 0.76, "latency_ms": 20.0, "macs": 1e6})
    assert not resolved.are_met(hopeless)
    assert [bound.text for bound in resolved.bounds] == [">= 95%", "<= 40%", "<= 50%"]
    told = resolved.explain({"accuracy": 0.7})
    assert told == "accuracy 0.7 is below 95% (0.76)"
    assert resolved.resolve({"accuracy": 0.1}) == resolved


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_percentage_of_nothing_is_a_config_error(value):
    with pytest.raises(ConfigError, match="give a number instead of a percentage"):
        parse(accuracy=">= 95%").resolve({"accuracy": value})


def test_the_smallest_subnet_decides_what_can_be_reached():
    constraints = parse(macs="<= 1k", accuracy=">= 0.99")
    constraints.check_reachable({"macs": 1000.0})
    with pytest.raises(InfeasibleError, match=r"macs <= 1k .* smallest has 1,001"):
        constraints.check_reachable({"macs": 1001.0})


def test_the_full_net_decides_where_a_footprint_is_maximised():
    capacity = Objective("capacity", "maximize", len, needs="footprint")
    full = {**FULL, "capacity": 10.0}
    constraints = parse_constraints({"capacity": ">= 20"}, full, [capacity])
    assert constraints.exact == constraints
    constraints.check_reachable({"capacity": 1.0})
    with pytest.raises(
        InfeasibleError, match=r"capacity >= 20 \(at least 20\): the full net has 10"
    ):
        constraints.check_reachable({"capacity": 1.0}, full)


def test_a_comma_separates_budgets_and_an_and_the_bounds_of_one():
    assert split_budgets(" macs<=2M, macs <= 25% and params<=50k,") == (
        "macs<=2M",
        "macs <= 25% and params<=50k",
    )
    assert split_budgets(" , ") == ()
    assert split_bounds("macs <= 25% and params<=50k") == {"macs": "<= 25%", "params": "<=50k"}
    assert split_bounds("my.module:count >= 3") == {"my.module:count": ">= 3"}
