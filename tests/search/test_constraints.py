from __future__ import annotations

import pytest
from search.fakes import make_task

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search import Objective
from dpod_search.search.constraints import parse_constraints


FULL = {"macs": 2_000_000.0, "params": 5_000.0}
ACCURACY = Objective("accuracy", "maximize", len)
LATENCY = Objective("latency_ms", "minimize", len)
MACS = Objective("macs", "minimize", needs="footprint")
OBJECTIVES = (ACCURACY, LATENCY, MACS)


def parse(**specs):
    return parse_constraints(specs, FULL, OBJECTIVES)


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


UNREADABLE = (
    *("", "40%", ">= 40%", "< 5", "<= 5 MB", "<= x", "<= -3", "<= 0", "<= _", "<= 1__0", "<= _1"),
    *("<= 1e400", "<= 1e400%", "<= 1e18G", "<= " + "9" * 5000),  # more than any net has
)


@pytest.mark.parametrize("text", UNREADABLE)
def test_bounds_that_cannot_be_read_are_config_errors(text):
    with pytest.raises(ConfigError, match="constraint on macs") as caught:
        parse(macs=text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("macs", ">= 1M", r'must read "<= ...", for macs is minimised; got \'>= 1M\''),
        ("params", ">= 1M", r'must read "<= ...", for params is minimised'),
        ("latency_ms", ">= 5", r'must read "<= ...", for latency_ms is minimised'),
        ("accuracy", "<= 0.9", r'must read ">= ...", for accuracy is maximised'),
        ("accuracy", "0.9", r'must read like ">= 0.9" or ">= 95%", got'),
        ("accuracy", ">= 0%", r"must be above 0"),
    ],
)
def test_the_sense_is_that_of_the_objective(name, text, message):
    with pytest.raises(ConfigError, match=f"constraint on {name} {message}"):
        parse(**{name: text})


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean params"):
        parse(param="<= 5")
    with pytest.raises(ConfigError, match="did you mean latency_ms"):
        parse(latency="<= 5")


def test_a_name_with_two_meanings_is_refused():
    measured = Objective("macs", "minimize", len)
    assert parse_constraints({"params": "<= 5"}, FULL, [measured]).bounds
    with pytest.raises(ConfigError, match="could mean the footprint or the measured objective"):
        parse_constraints({"macs": "<= 5"}, FULL, [measured])


def test_a_task_resolves_its_bounds_with_the_full_net():
    task = make_task(constraints={"macs": "<= 50%", "accuracy": ">= 90%"})
    assert task.needs_full
    full = task.evaluate(task.space.full)
    resolved = task.with_full(full)
    assert not resolved.needs_full
    assert resolved.bounds.measured.bounds[0].limit == pytest.approx(0.9 * full["accuracy"])
    assert not task.is_feasible(task.space.full)
    for some in (task, resolved):  # what is measured has no say before it is
        assert some.is_feasible(task.space.smallest)
    with pytest.raises(ConfigError, match="percentage"):
        task.with_full({"accuracy": 0.0})


def test_a_task_without_percentages_of_measured_values_needs_no_full_net():
    task = make_task(constraints={"macs": "<= 50%", "accuracy": ">= 0.5"})
    assert not task.needs_full
    assert task.with_full({"accuracy": 0.9}).bounds == task.bounds


def test_a_task_knows_whether_its_bounds_can_be_reached():
    make_task(constraints={"macs": "<= 50%", "accuracy": ">= 2"}).check_reachable()
    with pytest.raises(InfeasibleError, match="no subnet can meet macs <= 1 "):
        make_task(constraints={"macs": "<= 1"}).check_reachable()
    capacity = Objective("capacity", "maximize", lambda widths: widths.active[0], "footprint")
    task = make_task(objectives=(ACCURACY, capacity), constraints={"capacity": ">= 1k"})
    with pytest.raises(InfeasibleError, match="the full net has 16; lower the bound"):
        task.check_reachable()
