from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.bounds import split_bounds
from dpod_search.errors import ConfigError
from dpod_search.goals import FOOTPRINTS
from dpod_search.goals import Goal
from dpod_search.goals import LossBound
from dpod_search.goals import SizeBound
from dpod_search.goals import parse_goal
from dpod_search.search.constraints import parse_constraints


@dataclass(frozen=True)
class Metric:
    name: str
    direction: str = "maximize"
    is_share: bool = True


ACCURACY = Metric("accuracy")
MAE = Metric("mae", "minimize", is_share=False)
FULL = {"macs": 4e6, "params": 1e5, "weight_bytes": 4e5, "peak_bytes": 1e5, "latency": 8.0}

limits = st.floats(1e-3, 1e9).map(lambda x: float(f"{x:.6g}"))
sizes = st.builds(SizeBound, st.sampled_from(FOOTPRINTS), limits, st.booleans())
losses = st.builds(
    LossBound,
    st.sampled_from(["accuracy", "mae", "bits"]),
    st.floats(0, 1e3).map(lambda x: float(f"{x:.4g}")),
    st.sampled_from(["pt", "%", ""]),
    st.booleans(),
)
aims = st.sampled_from(["", "smallest", "fastest", "best"])
goals = st.builds(
    Goal,
    st.just(""),
    st.lists(sizes, min_size=1, max_size=5, unique_by=lambda b: b.name).map(tuple),
    st.lists(losses, min_size=1, max_size=3, unique_by=lambda b: b.metric).map(tuple),
    aims,
)


@given(goals)
def test_a_goal_reads_as_it_is_spelled(goal: Goal) -> None:
    read = parse_goal(str(goal))
    assert (read.aim, read.losses) == (goal.aim, goal.losses)
    assert str(read) == str(goal)


@given(sizes)
def test_a_bound_is_the_budget_that_studies_read(bound: SizeBound) -> None:
    ((name, spec),) = split_bounds(bound.text).items()
    (read,) = parse_constraints({name: spec}, FULL)
    limit = bound.limit * FULL[name] if bound.is_share else bound.limit
    assert read.limit == pytest.approx(limit, rel=1e-6)


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused_in_a_line(text: str) -> None:
    message = ""
    try:
        parse_goal(text)
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("latency <= 50 %, accuracy >= -1 pt", "latency<=50%, accuracy>=-1pt"),
        ("latency≤50%, accuracy≥−1pt", "latency<=50%, accuracy>=-1pt"),
        ("latency_ms<=5ms", "latency<=5"),
        ("time<=0.5s", "latency<=500"),
        ("size<=2MB", "weight_bytes<=2M"),
        ("weight_bytes<=100 kB", "weight_bytes<=100k"),
        ("weight_bytes<=100KiB", "weight_bytes<=102.4k"),
        ("peak_bytes<=1_000", "peak_bytes<=1k"),
        ("macs<=2M and params<=50k", "macs<=2M, params<=50k"),
        ("under 5 ms", "latency<=5"),
        ("under 100 kB", "weight_bytes<=100k"),
        ("at most 50% of the macs", "macs<=50%"),
        ("best under 5 ms", "best, latency<=5"),
        ("Smallest under 2 MB", "smallest, weight_bytes<=2M"),
        ("macs<=50%, mae<=+3%", "macs<=50%, mae<=+3%"),
        ("macs<=50%, bits<=+0.05", "macs<=50%, bits<=+0.05"),
        ("macs<=50%, accuracy>=-0", "macs<=50%, accuracy>=-0"),
        ("", "front"),
        (" the Pareto front", "front"),
    ],
)
def test_spellings(text: str, meaning: str) -> None:
    assert str(parse_goal(text)) == meaning


def test_what_may_be_lost_is_of_the_first_metric_where_none_is_named() -> None:
    goal = parse_goal("fastest within 1 point").fit([ACCURACY, Metric("f1")])
    assert (str(goal), goal.shrinks) == ("fastest, accuracy>=-1pt", "latency")
    goal = parse_goal("smallest within 3 %").fit([MAE])
    assert (str(goal), goal.shrinks) == ("smallest, mae<=+3%", "weight_bytes")


def test_the_smallest_within_a_size_is_the_best_within_it() -> None:
    goal = parse_goal("smallest under 2 MB")
    assert (goal.shrinks, goal.budget) == ("", "weight_bytes<=2M")
    goal = parse_goal("smallest under 2 MB within 1 point")
    assert (goal.shrinks, goal.budget) == ("weight_bytes", "weight_bytes<=2M")


@pytest.mark.parametrize(
    ("unit", "of_full", "allowed"), [("pt", 0.9, 0.02), ("%", 0.9, 0.018), ("", 7.0, 2.0)]
)
def test_what_may_be_lost_in_the_metrics_own_unit(unit, of_full, allowed) -> None:
    assert LossBound("accuracy", 2.0, unit).allow(of_full) == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("smalest under 2 MB", "did you mean smallest under 2 MB?"),
        ("fastets within 1 point", "did you mean fastest within 1 point?"),
        ("latency<50%", "did you mean latency<=50%?"),
        ("latency=50%", "did you mean latency<=50%?"),
        ("mac<=50%", "did you mean macs?"),
        ("under 5", "did you mean under 5 ms?"),
        ("macs<=50%, macs>=60%", "did you mean macs<=60%?"),
        ("macs<=50%, macs<=40%", "macs once, got macs<=50% and macs<=40%"),
        ("fastest, smallest, accuracy>=-1pt", "has fastest and smallest"),
        ("accuracy>=+5pt, macs<=50%", "the nearest is accuracy>=-0"),
        ("mae<=-3%, macs<=50%", "the nearest is mae<=+0"),
        ("accuracy>=0.9, macs<=50%", "may be lost against the full net: accuracy>=-2%"),
        ("energy<=50%, macs<=50%", "energy<=+2%; a size is one of macs, params, weight_bytes"),
        ("accuracy>=-1pt", "met by the full net; say what is to be small"),
        ("within 1 point", "latency<=50%, accuracy>=-1pt"),
        ("smallest", "did you mean smallest, accuracy>=-1pt?"),
        ("fastest, macs<=50%", "did you mean fastest, macs<=50%, accuracy>=-1pt?"),
        ("best", "such as best under 2 MB"),
        ("best within 1 point", "such as best under 2 MB"),
        ("macs<=5ms", "write macs<=2M"),
        ("latency<=2M", "write latency<=5ms"),
        ("weight_bytes<=5ms", "write weight_bytes<=100kB"),
        ("macs<=0", "must be above 0"),
        ("macs<=-3%", "must be above 0"),
        ("latency<=nan", "cannot be read"),
    ],
)
def test_what_is_no_goal_names_the_nearest(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        parse_goal(text)


@pytest.mark.parametrize(
    ("text", "metric", "part"),
    [
        ("macs<=50%, acuracy>=-1pt", ACCURACY, "did you mean accuracy?"),
        (
            "macs<=50%, accuracy<=+1pt",
            ACCURACY,
            "more of accuracy is better; write accuracy>=-1pt",
        ),
        ("macs<=50%, mae>=-3%", MAE, "less of mae is better; write mae<=+3%"),
        ("macs<=50% within 1 point", MAE, "no points; write mae<=+3%"),
        ("macs<=50% within 1 point, accuracy>=-2pt", ACCURACY, "once, got accuracy>=-1pt"),
    ],
)
def test_what_a_task_does_not_measure_is_refused(text: str, metric: Metric, part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        parse_goal(text).fit([metric])


def test_what_tables_tell_in_points_may_be_asked_for_in_points() -> None:
    outside = Metric("multiclass_accuracy", is_share=False)  # of torchmetrics: no bounds are known
    goal = parse_goal("macs<=50%, multiclass_accuracy>=-1pt").fit([ACCURACY, outside])
    assert goal.losses[0].allow(0.9) == pytest.approx(0.01)


def test_other_footprints_can_be_bounded() -> None:
    assert parse_goal("energy<=2k", (*FOOTPRINTS, "energy")).budget == "energy<=2k"
