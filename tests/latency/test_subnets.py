from __future__ import annotations

import copy

import pytest
import torch
from latency.fakes import make_residual_supernet
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.latency import Bench
from dpod_search.latency import Latency
from dpod_search.latency import make_subnet_bench
from dpod_search.latency import measure_latency
from dpod_search.latency import measure_subnet_latency
from dpod_search.supernet import Subnet
from dpod_search.supernet import build_supernet


class WatchedBench(Bench):
    """Remembers what it was given."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen = []

    def time(self, module, images, *, max_seconds=1.0, n_bursts=None):
        self.seen.append((module, images, max_seconds, torch.get_num_threads()))
        return Latency(1.0, 1.0, 1.0, 5)


def test_a_module_is_timed_and_left_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = copy.deepcopy(module.state_dict())

    found = measure_latency(module, torch.zeros(2, 3, 8, 8), max_seconds=0)
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert module.training
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


def test_a_bench_that_is_given_measures():
    bench = WatchedBench(n_threads=1)
    module = nn.Linear(3, 4)
    assert measure_latency(module, torch.zeros(2, 3), bench=bench, max_seconds=2).median_ms == 1
    ((timed, images, seconds, n_threads),) = bench.seen
    assert timed is not module
    assert (images.shape, seconds, n_threads) == ((2, 3), 2, 1)


@pytest.mark.parametrize("images", [None, torch.ones(4, 3, 8, 8)])
def test_the_subnet_is_measured_as_a_plain_module(images):
    supernet, bench = make_residual_supernet(), WatchedBench()
    subnet = Subnet(supernet, supernet.space.smallest)

    measure_subnet_latency(subnet, batch_size=5, images=images, bench=bench)
    ((module, batch, _, _),) = bench.seen
    assert type(module[0]) is nn.Conv2d
    assert module[0].out_channels == 1
    assert batch.shape == ((5, 3, 8, 8) if images is None else images.shape)
    assert batch.any()


def test_a_subnet_is_timed_without_a_bench_too():
    supernet = make_residual_supernet()
    subnet = Subnet(supernet, supernet.space.smallest)
    assert measure_subnet_latency(subnet, max_seconds=0, n_threads=1).median_ms > 0


def test_an_unknown_backend_is_named():
    with pytest.raises(ConfigError, match="got 'tensorrt'"):
        measure_latency(nn.Linear(3, 4), torch.zeros(2, 3), backend="tensorrt")


def test_a_bench_for_subnets_times_in_turn_with_a_narrow_one(monkeypatch):
    supernet = build_supernet(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)), torch.zeros(2, 3, 8, 8)
    )
    seen = []
    monkeypatch.setattr(Bench, "refer_to", lambda bench, *given: seen.append(given))
    images = torch.zeros(4, 3, 8, 8)
    bench = make_subnet_bench(Subnet(supernet, supernet.space.full), n_threads=1, images=images)

    ((module, batch),) = seen
    assert module[0].out_channels == 2
    assert batch is images
    assert (bench.fingerprint.batch_size, bench.n_threads) == (4, 1)
