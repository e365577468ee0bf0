"""The clock is a fake one wherever a number is checked."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor
from torch import nn

from dpod_search.evaluation import Latency
from dpod_search.evaluation import latency
from dpod_search.evaluation import measure_latency
from dpod_search.evaluation import measure_subnet_latency
from dpod_search.supernet import Subnet
from dpod_search.supernet import build_supernet


class Clock(nn.Module):
    """A model that takes as long as it is told, by the clock that it sets."""

    def __init__(self, seconds: Iterator[float]) -> None:
        super().__init__()
        self.now = 0.0
        self.seen: list[tuple[bool, bool, int, tuple[int, ...]]] = []
        self._seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        self.now += next(self._seconds)
        about = (self.training, torch.is_grad_enabled(), torch.get_num_threads(), tuple(x.shape))
        self.seen.append(about)
        return x


def make_clock(monkeypatch: pytest.MonkeyPatch, seconds: Iterator[float]) -> Clock:
    clock = Clock(seconds)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock.now)
    return clock


def noise(low: float, high: float) -> Iterator[float]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.uniform(low, high)


X = torch.zeros(2, 3)


def test_a_steady_clock_is_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = make_clock(monkeypatch, noise(0.25, 0.25))

    found = measure_latency(clock, X, max_seconds=5)
    assert found == Latency(250.0, 250.0, 250.0, latency.MIN_RUNS)
    assert len(clock.seen) == latency.N_WARM_UP + latency.MIN_RUNS


def test_warming_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [9.0] * latency.N_WARM_UP + [0.001] * 99

    assert measure_latency(make_clock(monkeypatch, iter(times)), X).high_ms == pytest.approx(1)
    times = [0.002] * 100 + [0.001] * 99
    found = measure_latency(make_clock(monkeypatch, iter(times)), X, max_seconds=2)
    assert (found.high_ms, found.n_runs) == (pytest.approx(1), latency.MIN_RUNS)


def test_a_noisy_clock_is_asked_until_its_median_is_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measure_latency(make_clock(monkeypatch, noise(0.008, 0.012)), X, max_seconds=60)

    assert found.is_narrow
    assert latency.MIN_RUNS < found.n_runs < 5_000
    assert found.median_ms == pytest.approx(10, rel=2 * latency.TOLERANCE)


def test_the_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = make_clock(monkeypatch, noise(0.001, 0.1))
    found = measure_latency(clock, X, max_seconds=0.5)

    assert not found.is_narrow
    assert 0.5 <= clock.now <= 0.6
    assert latency.MIN_RUNS < found.n_runs <= len(clock.seen) - latency.N_WARM_UP
    slow = make_clock(monkeypatch, noise(1, 100))
    assert measure_latency(slow, X, max_seconds=0.5).n_runs == latency.MIN_RUNS


@given(st.integers(5, 400))
def test_the_interval_covers_the_median_as_often_as_it_says(n: int) -> None:
    found = Latency.of(range(n))
    low, high = int(found.low_ms), int(found.high_ms)

    assert low <= found.median_ms == (n - 1) / 2 <= high
    # The true median is between two of n times if so many are below it.
    covered = binom.cdf(high, n, 0.5) - binom.cdf(low, n, 0.5)
    assert 0.93 <= covered <= 1
    assert high - low <= 2 * math.sqrt(n) + 2


def test_the_model_runs_as_asked_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = make_clock(monkeypatch, noise(1, 1)).train()
    before = torch.get_num_threads()

    measure_latency(clock, X, n_threads=before + 1)
    assert set(clock.seen) == {(False, False, before + 1, (2, 3))}
    assert torch.get_num_threads() == before
    assert clock.training
    clock.seen.clear()
    measure_latency(clock, X)
    assert {threads for _, _, threads, _ in clock.seen} == {before}


def test_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        measure_latency(nn.Linear(4, 4), torch.zeros(2, 3), n_threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("images", [None, torch.ones(4, 3, 8, 8)])
def test_the_subnet_is_measured_as_a_plain_module(
    images: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    supernet = build_supernet(net, torch.zeros(2, 3, 8, 8))
    seen: list[tuple[nn.Module, Tensor]] = []

    def watch(module: nn.Module, batch: Tensor, **_options: object) -> Latency:
        seen.append((module, batch))
        return Latency(1.0, 1.0, 1.0, 1)

    monkeypatch.setattr(latency, "measure_latency", watch)
    measure_subnet_latency(Subnet(supernet, supernet.space.smallest), batch_size=5, images=images)

    ((module, batch),) = seen
    assert type(module[0]) is nn.Conv2d
    assert module[0].out_channels == 1
    assert batch.shape == ((5, 3, 8, 8) if images is None else images.shape)
    assert batch.any()
