"""The clock is a fake one wherever a number is checked."""

from __future__ import annotations

import math
import statistics
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latency.fakes import Machine
from scipy.stats import binom

from dpod_search.latency import timing
from dpod_search.latency.settings import TOLERANCE
from dpod_search.latency.timing import Latency
from dpod_search.latency.timing import Reference
from dpod_search.latency.timing import choose_clock
from dpod_search.latency.timing import drop_outliers
from dpod_search.latency.timing import measure_interleaved
from dpod_search.latency.timing import time_burst
from dpod_search.latency.timing import warm_up


def start(monkeypatch, machine, nominal_ms=2.0):
    """Let time pass on a machine only, and return its reference, which takes 2 ms."""
    monkeypatch.setattr(timing.time, "perf_counter", machine.clock)
    return Reference(machine.work(0.002), nominal_ms, machine.clock)


def make_noise(low, high):
    rng = np.random.default_rng(0)
    return lambda: float(rng.uniform(low, high))


def test_a_steady_machine_is_believed_at_once(monkeypatch):
    machine = Machine()
    reference = start(monkeypatch, machine)

    found = measure_interleaved(machine.work(0.01), reference, max_seconds=60)
    numbers = (found.median_ms, found.low_ms, found.high_ms, found.drift)
    assert numbers == pytest.approx((10, 10, 10, 1))
    assert (found.n_bursts, found.n_outliers) == (timing.MIN_BURSTS, 0)
    assert not found.is_restless


@pytest.mark.parametrize(
    "slowness",
    [
        pytest.param(lambda now: 1 + now, id="ever slower"),
        pytest.param(lambda now: 2.0 if now > 0.15 else 1.0, id="throttled"),
        pytest.param(lambda now: 1.5 + math.sin(3 * now), id="up and down"),
    ],
)
def test_what_slows_net_and_reference_alike_cancels_and_is_told(monkeypatch, slowness):
    machine = Machine(slowness)
    reference = start(monkeypatch, machine)

    found = measure_interleaved(machine.work(0.01), reference, n_bursts=15)
    assert found.median_ms == pytest.approx(10, rel=0.03)
    assert found.is_restless
    assert found.drift > 1.8


def test_latencies_are_given_for_the_nominal_reference(monkeypatch):
    slow = Machine(lambda now: 3.0)
    found = measure_interleaved(slow.work(0.01), start(monkeypatch, slow))
    assert found.median_ms == pytest.approx(10)
    # A reference that is met for the first time is as fast as it is.
    found = measure_interleaved(slow.work(0.01), start(monkeypatch, slow, nominal_ms=None))
    assert found.median_ms == pytest.approx(30)


def test_a_reference_finds_its_nominal_time_once():
    machine = Machine()
    reference = Reference(machine.work(0.002), None, machine.clock)

    assert reference.calibrate() == pytest.approx(2)
    n_runs = machine.n_runs
    assert n_runs > timing.N_CALIBRATION
    assert reference.calibrate() == pytest.approx(2)
    assert machine.n_runs == n_runs


def test_bursts_that_something_got_in_the_way_of_are_left_out(monkeypatch):
    machine = Machine()
    reference = start(monkeypatch, machine)
    passes = iter(range(10**9))
    # A burst of passes of 4 ms has four of them: one to warm the caches, three that count.
    disturbed = {5, 6, 11}

    def take():
        burst = (next(passes) - n_warm_up) // 4
        return 0.02 if burst in disturbed else 0.004 + 1e-5 * (burst % 3)

    n_warm_up = 5
    found = measure_interleaved(machine.work(take), reference, n_bursts=20)
    assert found.n_outliers == len(disturbed)
    assert found.n_bursts == 17
    assert found.median_ms == pytest.approx(4.01)
    assert found.high_ms < 4.03


@given(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=60))
def test_outliers_are_only_ever_the_slowest(values):
    kept = drop_outliers(values)

    assert sorted(kept) == sorted(values)[: len(kept)]
    assert len(kept) >= min(len(values), timing.MIN_BURSTS)
    assert Latency.of(values).n_bursts + Latency.of(values).n_outliers == len(values)


@given(st.lists(st.floats(0.99, 1.01), min_size=30, max_size=60), st.integers(1, 8))
def test_what_is_far_off_is_dropped(values, n_slow):
    found = Latency.of([*values, *[100.0] * n_slow])
    assert found.n_outliers >= n_slow
    assert found.high_ms <= 1.01


def test_a_noisy_machine_is_asked_until_its_median_is_certain(monkeypatch):
    machine = Machine()
    reference = start(monkeypatch, machine)

    found = measure_interleaved(machine.work(make_noise(0.008, 0.012)), reference, max_seconds=600)
    assert found.is_narrow
    assert timing.MIN_BURSTS < found.n_bursts + found.n_outliers < 1000
    assert found.median_ms == pytest.approx(10, rel=3 * TOLERANCE)


def test_the_time_ends_it(monkeypatch):
    machine = Machine()
    reference = start(monkeypatch, machine)

    found = measure_interleaved(machine.work(make_noise(0.001, 0.1)), reference, max_seconds=5)
    assert not found.is_narrow
    assert 5 <= machine.now <= 5.5
    slow = Machine()
    found = measure_interleaved(
        slow.work(make_noise(1, 100)), start(monkeypatch, slow), max_seconds=0.5
    )
    assert found.n_bursts == timing.MIN_BURSTS


@given(st.integers(5, 400))
def test_the_interval_covers_the_median_as_often_as_it_says(n):
    found = Latency.of([1000 + i for i in range(n)])
    low, high = round(found.low_ms - 1000), round(found.high_ms - 1000)

    assert low <= found.median_ms - 1000 == (n - 1) / 2 <= high
    # The true median is between two of n times if so many are below it.
    covered = binom.cdf(high, n, 0.5) - binom.cdf(low, n, 0.5)
    assert 0.93 <= covered <= 1
    assert high - low <= 2 * math.sqrt(n) + 2


def test_a_burst_is_the_median_pass_after_one_that_does_not_count():
    machine = Machine()
    taken = iter([9.0, 0.001, 0.005, 0.002, *[0.003] * 9])

    assert time_burst(machine.work(lambda: next(taken)), machine.clock, 0.009) == pytest.approx(
        statistics.median([0.001, 0.005, 0.002, 0.003])
    )
    assert machine.n_runs == 5


def test_a_clock_that_stands_still_ends_all_the_same():
    assert 0 < time_burst(lambda: None, lambda: 0.0, 1e-5) <= 1e-9


def test_warming_up_takes_a_while_but_few_passes_of_a_slow_net(monkeypatch):
    machine = Machine()
    start(monkeypatch, machine)
    warm_up(machine.work(1.0))
    assert machine.n_runs == timing.MIN_PASSES
    warm_up(machine.work(0.001))
    n_due = timing.WARM_UP_SECONDS / 0.001
    assert machine.n_runs - timing.MIN_PASSES == pytest.approx(n_due, abs=1)


def test_processor_time_is_counted_where_one_thread_does_the_work():
    assert choose_clock("cuda", 1) is time.perf_counter
    assert choose_clock("cpu", 2) is time.perf_counter
    assert choose_clock("cpu", None) is time.perf_counter
    is_fine = time.get_clock_info("thread_time").resolution <= 1e-6
    assert choose_clock("cpu", 1) is (time.thread_time if is_fine else time.perf_counter)
