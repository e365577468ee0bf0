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


class _Scaled(nn.Embedding):
    """Has a buffer of its own, so that it is no layer here, and its weight one that code reads."""

    def __init__(self) -> None:
        super().__init__(20, 8)
        self.register_buffer("factor", torch.ones(2))

    def forward(self, words: Tensor) -> Tensor:
        return super().forward(words) * self.factor.sum()


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = _Scaled(), nn.Linear(8, 20, bias=False)
        self.head.weight = self.words.weight
        self.hidden, self.out = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.out(self.hidden(self.words(words)).relu()))


def test_a_weight_that_code_reads_and_a_layer_holds_is_counted_once() -> None:
    supernet = build_supernet(_Tied(), torch.arange(6).view(2, 3))
    for widths in (supernet.space.full, supernet.space.smallest):
        measured = build_footprint(supernet).measure(widths)
        assert measured["params"] == count_params(extract_subnet(supernet, widths))
