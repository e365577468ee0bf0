"""Where the tensors of a model lie."""

from __future__ import annotations

import torch
from torch import nn

from dpod_search.supernet.tracing.places import Places


def test_a_tensor_is_found_under_its_first_path() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].again = net[0].weight
    net.tied = net[1].weight
    places = Places(net)

    assert places.find(net[0].weight) == "0.weight"
    assert places.find(net[1].weight) == "tied"
    assert places.find(net[1].running_mean) == "1.running_mean"
    assert places.find(torch.ones(2)) is None


def test_a_tensor_that_was_replaced_is_not_found() -> None:
    net = nn.Linear(2, 2)
    places, before = Places(net), net.weight
    net.weight = nn.Parameter(torch.ones(2, 2))

    assert places.find(before) is None
    assert places.find(net.weight) is None
