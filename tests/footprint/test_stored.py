"""Weights that several layers hold exist once, whichever of their blocks are removed."""

from __future__ import annotations

import itertools

import torch
from footprint.counters import count_params
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


class _Block(nn.Module):
    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(6, 6), nn.Linear(6, 6)
        self.into.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.into(x).relu())


def test_tied_weights_are_counted_once_whichever_blocks_are_there() -> None:
    weight = nn.Parameter(torch.eye(6))
    net = nn.Sequential(nn.Linear(4, 6), *(_Block(weight) for _ in range(3)), nn.Linear(6, 2))
    supernet = build_supernet(net, torch.zeros(2, 4))
    footprint = build_footprint(supernet)

    for present in itertools.product((0, 1), repeat=3):
        chosen = dict(zip(("1", "2", "3"), present, strict=True))
        widths = supernet.space.make({**supernet.space.full, **chosen})
        measured = footprint.measure(widths)
        subnet = extract_subnet(supernet, widths)
        assert measured["params"] == count_params(subnet), present
        assert measured["weight_bytes"] == 4 * count_params(subnet), present
