"""The independent counters agree with what is counted by hand."""

from __future__ import annotations

import pytest
import torch
from footprint.counters import count_macs
from footprint.counters import count_params
from footprint.peak import measure_eager_peak
from footprint.peak import measure_graph_peaks
from torch import Tensor
from torch import nn


MAP = 16 * 4  # bytes of one channel of 4 x 4 pixels
PICTURES = 3 * MAP


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return y + self.b(y)


class Concatenation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return torch.cat([y, self.b(y)], 1)


class Holder(nn.Module):
    """Its local variable keeps a value that the graph no longer needs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = self.b(y)
        return self.c(z)  # type: ignore[no-any-return]  # a module's call


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "graph", "eager"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(inplace=True)), 8 * MAP, 8 * MAP),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), 16 * MAP, 16 * MAP),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(128, 5)), 8 * MAP + 20, None),
        (Residual(), 24 * MAP, 24 * MAP),
        (Concatenation(), 24 * MAP, 24 * MAP),
        (Holder(), 16 * MAP, 24 * MAP),
    ],
)
def test_peaks_are_those_computed_by_hand(model: nn.Module, graph: int, eager: int | None) -> None:
    for n in (1, 3):
        images = torch.zeros(n, 3, 4, 4)
        operations, nodes = measure_graph_peaks(model, images)

        assert operations.n_bytes == nodes.n_bytes == n * (PICTURES + graph)
        expected = graph if eager is None else eager
        assert measure_eager_peak(model, images).n_bytes == n * (PICTURES + expected)


def test_the_peak_over_operations_has_the_indices_of_a_pooling_too() -> None:
    images = torch.zeros(1, 3, 4, 4)
    operations, nodes = measure_graph_peaks(nn.Sequential(nn.MaxPool2d(2)), images)

    pooled = PICTURES // 4
    assert nodes.n_bytes == PICTURES + pooled
    assert operations.n_bytes == PICTURES + pooled + 2 * pooled  # eight bytes an index


def test_macs_have_attention_and_all_that_runs_in_training_mode_too() -> None:
    tokens, dim = 5, 16
    model = Attention()
    wanted = tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim

    assert count_macs(model, torch.zeros(2, tokens, dim)) == wanted
    assert count_params(model) == 4 * dim * dim + 4 * dim
    assert all(part.training for part in model.modules())
