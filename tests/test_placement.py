"""Tensors are moved without changing their values; pictures and 4-d weights are channels last."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.placement import Placement
from dpod_search.placement import check_parallel
from dpod_search.placement import device_of
from dpod_search.placement import limit_threads
from dpod_search.placement import place_module
from dpod_search.placement import placement_of


CPU = torch.device("cpu")


def test_pictures_are_channels_last_and_the_same() -> None:
    images = torch.randn(2, 3, 4, 5)
    placed = Placement(CPU, is_channels_last=True).put(images)

    assert torch.equal(placed, images)
    assert placed.is_contiguous(memory_format=torch.channels_last)


def test_other_inputs_are_left_as_they_are() -> None:
    for shape in ((2, 3), (2, 3, 4), (2, 3, 4, 5, 6)):
        rows = torch.randn(shape)
        assert Placement(CPU, is_channels_last=True).put(rows) is rows


def test_a_module_computes_the_same_and_keeps_its_parameters() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv3d(4, 2, 1), nn.Linear(2, 2))
    net[3].weight.requires_grad_(False)
    before = copy.deepcopy(net)
    parameters = list(net.parameters())

    assert place_module(net, CPU) is net
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(p is q for p, q in zip(net.parameters(), parameters, strict=True))
    assert not net[3].weight.requires_grad
    torch.testing.assert_close(net.state_dict(), before.state_dict(), rtol=0, atol=0)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(net[:2](placement_of(net).put(x)), before[:2](x))


def test_the_device_of_a_module() -> None:
    assert device_of(nn.Linear(1, 1)) == CPU
    assert device_of(nn.ReLU()) == CPU
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")


def test_pictures_follow_the_weights() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    assert placement_of(net) == Placement(CPU, is_channels_last=False)
    assert placement_of(place_module(net, CPU)) == Placement(CPU, is_channels_last=True)
    place_module(net, CPU, is_channels_last=False)
    assert placement_of(net) == Placement(CPU, is_channels_last=False)
    assert Placement(CPU).put(torch.zeros(2, 3, 4, 4)).is_contiguous()


@pytest.mark.parametrize("n", [0, 10_000, 2**63 - 1])
def test_threads_that_no_machine_bears_are_refused_before_they_are_made(n: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ConfigError, match="threads must be"), limit_threads(n):
        pass
    assert torch.get_num_threads() == before


def test_a_machine_bears_four_threads_a_core_and_always_16(monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    check_parallel("--jobs", 32)
    with pytest.raises(ConfigError, match="--jobs must be <= 32 .* which has 8 cores, got 33"):
        check_parallel("--jobs", 33)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    check_parallel("--jobs", 16)
    with pytest.raises(ConfigError, match="--jobs must be <= 16 on this machine"):
        check_parallel("--jobs", 17)
