from __future__ import annotations

import os
import signal

import pytest
import torch
import torch.distributed as dist

from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.training import Ranks
from dpod_search.training import choose_device
from dpod_search.training import is_first_to_fail
from dpod_search.training import joined_ranks
from dpod_search.training import launched_ranks


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_a_process_is_alone(no_launcher, monkeypatch):
    assert launched_ranks() == Ranks(0, 1)
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched_ranks() == Ranks(0, 1)
    with joined_ranks("cpu") as ranks:
        assert ranks.is_alone
        assert not dist.is_initialized()


def test_the_launcher_tells_a_rank_who_it_is(second_of_two):
    assert launched_ranks() == Ranks(1, 2)


def test_each_rank_has_a_gpu_of_its_own(second_of_two):
    assert str(choose_device("cuda")) == "cuda:1"
    assert str(choose_device("cpu")) == "cpu"
    for name in ("cuda:0", "mps"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot be shared by several ranks"):
            choose_device(name)


def test_fewer_gpus_than_ranks_are_named(second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    wanted = pytest.raises(ConfigError, match="rank 1 needs cuda:1, but there are 1 GPUs")
    with wanted, joined_ranks("cuda"):
        raise AssertionError("it joined")


def test_a_rank_that_cannot_find_the_others_says_how_to_start_it(second_of_two, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    wanted = pytest.raises(ConfigError, match=r"one of 2 ranks .*MASTER_ADDR.*torchrun")
    with wanted, joined_ranks("cpu"):
        raise AssertionError("it joined")


def test_alone_any_device_will_do(no_launcher):
    assert str(choose_device("cuda:1")) == "cuda:1"
    with pytest.raises(ConfigError, match="device must be .* got 'gpu'"):
        choose_device("gpu")


def test_a_rank_that_is_told_to_end_says_so_and_leaves_the_group(
    second_of_two, monkeypatch, tmp_path
):
    # A group of one, which is all that one process can make.
    monkeypatch.setenv("RANK", "0")
    real = dist.init_process_group

    def make_group(backend, **options):
        assert backend == "gloo"
        real(backend, store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)

    monkeypatch.setattr(dist, "init_process_group", make_group)
    before = signal.getsignal(signal.SIGTERM)
    is_first_to_fail.cache_clear()
    try:
        with pytest.raises(TrainingError, match="rank 0 was told to end"), joined_ranks("cpu"):
            assert dist.is_initialized()
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigwait([])
        assert not dist.is_initialized()
        # torchrun's signal would otherwise come between a lost peer and the line that tells it.
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_torchrun_every_failure_is_told(second_of_two, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    is_first_to_fail.cache_clear()
    assert is_first_to_fail()


def test_of_several_failures_only_the_first_is_told(second_of_two, monkeypatch):
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    told = []
    for _ in range(2):
        is_first_to_fail.cache_clear()
        told += [is_first_to_fail(), is_first_to_fail()]
    assert told == [True, True, False, False]
    is_first_to_fail.cache_clear()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert is_first_to_fail()
    is_first_to_fail.cache_clear()
    del os.environ["MASTER_PORT"]
    assert is_first_to_fail()
    is_first_to_fail.cache_clear()
