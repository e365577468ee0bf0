"""Peak activation memory in closed form is what watching every storage finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from footprint.peak import measure_graph_peaks
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


class Block(nn.Module):
    """Adds to its input, out of place, in place, or behind an activation."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.back = nn.Conv2d(2 * width, width, 1)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        y = self.back(torch.nn.functional.gelu(self.conv(x)))
        if self.how == "in place":
            y += x
            return y
        return torch.relu(x + y) if self.how == "relu" else x + y


def pictures(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        *middle,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


class Encoder(nn.Module):
    """Attention and MLP, each added to the tokens."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=batch_first)
        self.think = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.think(x)


class Tokens(nn.Module):
    """Patches through encoder layers."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 2, stride=2)
        self.layers = nn.ModuleList(Encoder(batch_first=batch_first) for _ in range(3))
        self.head = nn.Linear(16, 3)
        self.axis = 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x if self.axis == 1 else x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(self.axis))


NETS = {
    "blocks": lambda: pictures(*(Block(8, "out of place") for _ in range(3))),
    "blocks-behind-relu": lambda: pictures(Block(8, "relu"), nn.MaxPool2d(2), Block(8, "relu")),
    "blocks-in-place": lambda: pictures(Block(8, "in place"), Block(8, "in place")),
    "blocks-from-the-input": lambda: nn.Sequential(
        Block(3, "relu"), Block(3, "relu"), nn.Flatten(), nn.Linear(3 * 64, 3)
    ),
    "pool": lambda: pictures(nn.MaxPool2d(2, 1), nn.Hardswish(), nn.GroupNorm(2, 8)),
    "attention": lambda: Tokens(batch_first=True),
    "tokens-first": lambda: Tokens(batch_first=False),
}


# Several samples with tokens first are copied into order or not, as the memory format before was.
@pytest.mark.parametrize(
    ("name", "batch_size"),
    [(name, n) for name in NETS for n in (1, 2) if name != "tokens-first" or n == 1],
)
def test_peak_bytes_are_what_an_allocator_sees(name: str, batch_size: int) -> None:
    model = NETS[name]().eval()
    example = torch.randn(batch_size, 3, 8, 8)
    supernet = build_supernet(model, example).eval()
    footprint = build_footprint(supernet)
    rng = np.random.default_rng(0)
    space = supernet.space

    for widths in (space.full, space.smallest, *(space.sample(rng) for _ in range(20))):
        subnet = extract_subnet(supernet, widths)
        seen, _ = measure_graph_peaks(subnet, example)
        got = footprint.measure(widths)["peak_bytes"]
        assert got == pytest.approx(seen.n_bytes / batch_size, rel=0.02), str(widths)


def test_halves_take_half() -> None:
    model = pictures(Block(8, "relu"))
    single = build_footprint(build_supernet(model, torch.randn(1, 3, 8, 8)))
    half = build_footprint(build_supernet(model.half(), torch.randn(1, 3, 8, 8).half()))
    widths = build_supernet(model, torch.randn(1, 3, 8, 8).half()).space.full

    assert single.measure(widths)["peak_bytes"] == 2 * half.measure(widths)["peak_bytes"]
