from __future__ import annotations

import optuna
import pytest

from dpod_search.search.worker import clock
from dpod_search.search.worker.clock import SearchClock


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
    monkeypatch.setattr(clock, "time", times)
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
