"""Budgets: how they are spelled, and which members meet them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.fakes import ACCURACY

from dpod_search.bounds import split_bounds
from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search.constraints import keep_within
from dpod_search.search.constraints import read_budget


LATENCY = Objective("latency_ms", "minimize", lambda subnet: 1.0)
OBJECTIVES = (ACCURACY, Macs(), LATENCY)
FULL = {"macs": 4e6, "params": 1e5, "accuracy": 0.8, "latency_ms": 20.0}


@dataclass(frozen=True)
class Member:
    footprint: dict[str, float]
    values: dict[str, float]


def make_member(macs, params=5e4, accuracy=0.5, latency_ms=10.0):
    values = {"accuracy": accuracy, "macs": macs, "latency_ms": latency_ms}
    return Member({"macs": macs, "params": params}, values)


def keep(members, budget, full=FULL):
    return keep_within(members, budget, full=full, objectives=OBJECTIVES)


@pytest.mark.parametrize("budget", ["", "macs", "macs<2M", "<=2M", "macs<=1 and ", "2M=>macs", 5])
def test_what_cannot_be_read_is_shown_how(budget):
    with pytest.raises(ConfigError, match=r"'macs<=2M', 'macs<=25%' or 'macs<=5M and params"):
        read_budget(budget, FULL, OBJECTIVES[:2])


def test_errors_name_the_budget_and_what_it_bounds():
    with pytest.raises(ConfigError, match=r"bounds macs twice"):
        split_bounds("macs<=1 and macs<=2")
    footprints = {"macs": 4e6, "params": 1e5}
    with pytest.raises(ConfigError, match=r"'mac<=1'.*did you mean macs"):
        read_budget("mac<=1", footprints, OBJECTIVES)
    with pytest.raises(ConfigError, match=r"'macs<=1X'.*must read like"):
        read_budget("macs<=1X", footprints, OBJECTIVES)
    with pytest.raises(ConfigError, match=r"macs is minimised"):
        read_budget("macs>=1", footprints, OBJECTIVES)


@given(
    macs=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    limit=st.integers(1, 4000),
    unit=st.sampled_from(["", "k", "%"]),
)
def test_those_within_are_kept_and_else_the_smallest_is_named(macs, limit, unit):
    factor = {"": 1, "k": 1000, "%": 4000 / 100}[unit]
    members = [make_member(value) for value in macs]
    within = [m for m in members if m.footprint["macs"] <= limit * factor * (1 + 1e-12)]
    budget = f"macs<={limit}{unit}"
    if within:
        assert keep(members, budget, {"macs": 4000.0}) == within
    else:
        smallest = f"{min(macs):,.0f}" if min(macs) >= 1000 else f"{min(macs):g}"
        with pytest.raises(InfeasibleError) as caught:
            keep(members, budget, {"macs": 4000.0})
        text = f"meets the budget {budget}: the smallest macs is {smallest}; raise the bound"
        assert text in str(caught.value)


def test_every_bound_of_a_budget_must_be_met():
    small, large = make_member(1e6, params=9e4), make_member(2e6, params=1e4)
    assert keep([small, large], "macs<=50% and params<=50k") == [large]
    with pytest.raises(
        InfeasibleError, match="the smallest params within its other bounds is 90,000"
    ):
        keep([small, large], "macs<=1M and params<=50k")


def test_measured_numbers_can_be_bounded_too():
    slow, fast = make_member(1e6, latency_ms=11.0), make_member(2e6, accuracy=0.3, latency_ms=9.0)
    assert keep([slow, fast], "latency_ms<=50%") == [fast]
    assert keep([slow, fast], "accuracy>=0.4") == [slow]
    with pytest.raises(InfeasibleError, match="the largest accuracy is 0.5; lower the bound"):
        keep([slow, fast], "accuracy>=90%")


@pytest.mark.parametrize("full", [{}, {"macs": math.nan}])
def test_a_share_of_an_unknown_full_net_is_an_error(full):
    with pytest.raises(ConfigError, match="give a number instead of a percentage"):
        keep([make_member(1e6)], "macs<=50%", full)
    assert keep([make_member(1e6)], "macs<=1M", full)
