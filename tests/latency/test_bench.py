"""Benches time real nets here, so what is checked is that they do, and what they leave behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.latency import Bench
from dpod_search.latency.bench import make_reference_net
from dpod_search.placement import limit_threads


IMAGES = torch.zeros(2, 3)


@pytest.fixture
def two_threads():
    with limit_threads(2):
        yield


class Watched(nn.Module):
    """Says how it is run."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, x):
        self.seen.add((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        return x


def test_a_net_runs_in_evaluation_mode_with_the_threads_of_the_bench(two_threads):
    net = Watched()

    with Bench(n_threads=1) as bench:
        found = bench.time(net, IMAGES, max_seconds=0)
        assert torch.get_num_threads() == 1
    assert net.seen == {(False, False, 1)}
    assert torch.get_num_threads() == 2
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert found.n_bursts + found.n_outliers == 5


def test_bursts_are_as_many_as_asked():
    with Bench() as bench:
        assert bench.time(nn.Identity(), IMAGES, n_bursts=2).n_bursts == 2


def test_a_bench_may_be_entered_again_and_keeps_its_nominal():
    bench = Bench()
    with bench:
        first = bench.nominal_ms
    with bench:
        assert bench.nominal_ms == first > 0
        bench.time(nn.Identity(), IMAGES, max_seconds=0)
    with Bench(nominal_ms=123.0) as other:
        assert other.nominal_ms == 123.0


def test_outside_its_block_a_bench_times_nothing():
    bench = Bench()
    with pytest.raises(ConfigError, match="inside its `with` block only"):
        bench.time(nn.Identity(), IMAGES)
    with bench:
        pass
    with pytest.raises(ConfigError, match="inside its `with` block only"):
        bench.time(nn.Identity(), IMAGES)


def test_threads_are_restored_after_an_error(two_threads):
    with pytest.raises(RuntimeError), Bench(n_threads=1) as bench:
        bench.time(nn.Linear(4, 4), IMAGES)
    assert torch.get_num_threads() == 2


def test_threads_are_restored_when_it_cannot_open(monkeypatch, two_threads):
    bench = Bench(n_threads=7)
    monkeypatch.setattr(bench, "_make_reference", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.__enter__()
    assert torch.get_num_threads() == 2


def test_no_number_of_threads_leaves_it_as_it_is(two_threads):
    assert Bench(n_threads=None).fingerprint.n_threads == 2


def test_an_unknown_backend_is_named_at_once():
    with pytest.raises(ConfigError, match="latency backend must be one of eager, compile"):
        Bench("tensorrt")


def test_the_reference_is_the_same_work_always():
    net = make_reference_net()
    assert sum(p.numel() for p in net.parameters() if p.ndim == 4) == 4 * 9 * 32 * 32
    assert not net.training


def test_more_threads_than_the_machine_bears_are_refused_before_they_are_made():
    with pytest.raises(ConfigError, match="threads must be <= "), Bench(n_threads=1000):
        pass


@pytest.mark.parametrize(
    "wrong", [{"max_seconds": -1}, {"max_seconds": float("nan")}, {"n_bursts": 0}]
)
def test_a_time_without_an_end_is_refused(wrong):
    with Bench() as bench, pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be "):
        bench.time(nn.Identity(), IMAGES, **wrong)
