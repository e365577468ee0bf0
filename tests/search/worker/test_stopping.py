from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.pareto import compute_hypervolume
from dpod_search.search import SearchSettings
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.worker import stopping
from dpod_search.search.worker.stopping import MARGIN
from dpod_search.search.worker.stopping import MIN_RISE
from dpod_search.search.worker.stopping import SearchClock
from dpod_search.search.worker.stopping import StoppingRule
from dpod_search.search.worker.stopping import VolumeTrace
from dpod_search.widths import Widths


SETTINGS = SearchSettings(n_trials=100, n_evaluated=50, seconds=60.0, stall=5)
RISING = [1.0 + i for i in range(20)]


def find_end(rule, *, n_finished=0, n_evaluated=0, seconds=0.0, hypervolumes=RISING):
    return rule.find_end(
        n_finished=n_finished,
        n_evaluated=n_evaluated,
        seconds=seconds,
        hypervolumes=hypervolumes,
    )


def test_within_all_limits_a_search_goes_on():
    rule = StoppingRule.of(SETTINGS)
    assert find_end(rule, n_finished=99, n_evaluated=49, seconds=59.9) is None


@pytest.mark.parametrize(
    ("spent", "limit", "raised", "reason"),
    [
        ({"n_finished": 100}, "n_trials", 101, "100 trials are finished"),
        ({"n_finished": 104}, "n_trials", 105, "104 trials are finished"),
        ({"n_evaluated": 50}, "n_evaluated", 51, "50 subnets are evaluated"),
        ({"seconds": 60.2}, "seconds", 61.0, "60.2 seconds of searching are spent"),
        ({"hypervolumes": [1.0] * 6}, "stall", 6, "the last 5 evaluated subnets raised"),
    ],
)
def test_the_first_limit_that_is_reached_ends_it_and_a_higher_one_continues(
    spent, limit, raised, reason
):
    ended = find_end(StoppingRule.of(SETTINGS), **spent)
    assert ended is not None
    assert ended.startswith(reason)
    assert find_end(StoppingRule.of(replace(SETTINGS, **{limit: raised})), **spent) is None


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.lists(st.floats(0, 1), max_size=30))
def test_by_default_only_the_trials_count(n_evaluated, seconds, hypervolumes):
    rule = StoppingRule.of(SearchSettings(n_trials=10))
    spent = {"n_evaluated": n_evaluated, "seconds": seconds, "hypervolumes": hypervolumes}
    assert find_end(rule, n_finished=9, **spent) is None
    assert find_end(rule, n_finished=10, **spent) == "10 trials are finished"


@given(st.integers(1, 8), st.integers(1, 20), st.floats(0, 3 * MIN_RISE))
def test_a_stall_is_a_rise_below_a_thousandth_over_all_of_its_subnets(stall, n_before, rise):
    rule = StoppingRule.of(SearchSettings(stall=stall))
    steps = [2.0 * (1 + rise * i / stall) for i in range(stall + 1)]
    ended = find_end(rule, hypervolumes=[2.0] * (n_before - 1) + steps)
    if abs(rise - MIN_RISE) > 1e-9:
        assert (ended is not None) == (rise < MIN_RISE)
    assert find_end(rule, hypervolumes=steps[1:]) is None  # too few to tell


def test_without_a_front_nothing_stalls():
    rule = StoppingRule.of(SearchSettings(stall=3))
    assert find_end(rule, hypervolumes=[0.0] * 50) is None
    assert find_end(rule, hypervolumes=[0.0] * 50 + [1.0] * 3) is None
    assert find_end(rule, hypervolumes=[0.0] * 50 + [1.0] * 4) is not None


class Times:
    """Time that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + 1e9


@pytest.fixture
def times(monkeypatch):
    times = Times()
    monkeypatch.setattr(stopping, "time", times)
    return times


def make_study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler())


def test_seconds_add_up_over_processes_and_pauses_do_not_count(times):
    study = make_study()
    first = SearchClock(study)
    times.now += 10
    first.tick(is_last=True)
    times.now += 500
    second = SearchClock(study)
    times.now += 5
    assert second.seconds == pytest.approx(15)


def test_time_in_which_two_were_at_it_counts_once(times):
    study = make_study()
    one, two = SearchClock(study), SearchClock(study)
    times.now += 4
    one.tick()
    times.now += 4
    two.tick()
    one.tick()
    assert one.seconds == pytest.approx(8)
    assert two.seconds == pytest.approx(8)


def test_the_time_is_written_down_every_few_seconds_only(times):
    study = make_study()
    one = SearchClock(study)
    times.now += 1
    one.tick()
    assert study.user_attrs == {}


def make_history(values, violations=None):
    history = History(["maximize", "minimize"])
    extend(history, values, violations)
    return history


def extend(history, values, violations=None):
    for value, violation in zip(values, violations or [0.0] * len(values), strict=True):
        n = history.n_finished
        widths = Widths(("a",), (n + 1,))
        history.add(FinishedTrial(n, widths, "evaluated", {}, tuple(value), {}, violation))


@pytest.mark.parametrize("steps", [[40], [1] * 40, [5, 20, 15]])
def test_volumes_are_those_of_the_points_so_far_up_to_the_worst_of_all(steps):
    values = np.random.default_rng(0).uniform([0.1, 1], [0.9, 1000], (40, 2))
    trace, history = VolumeTrace([False, True]), History(["maximize", "minimize"])
    n = 0
    for step in steps:
        extend(history, values[n : n + step])
        n += step
        found = trace.extend(history)
    points = np.column_stack([-values[:, 0], np.log(values[:, 1])])
    reference = points.max(axis=0) + MARGIN * np.ptp(points, axis=0)
    expected = [compute_hypervolume(points[: i + 1], reference) for i in range(40)]
    assert found == pytest.approx(expected)


def test_what_violates_a_constraint_adds_nothing():
    values = [(0.2, 100.0), (0.5, 10.0), (0.9, 1.0)]
    clean = VolumeTrace([False, True]).extend(make_history(values[:2]))
    found = VolumeTrace([False, True]).extend(make_history(values, [0, 0, 0.5]))
    assert found == pytest.approx([*clean, clean[-1]])


def test_without_trials_there_are_no_volumes():
    assert VolumeTrace([True, True]).extend(History(["minimize", "minimize"])) == []
