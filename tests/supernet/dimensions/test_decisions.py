"""What the user's code decides by sizes is decided as on the example, and widths do not decide."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


class Net(nn.Module):
    """A stem of 8 channels, something in between, and a layer of 6."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 3)
        self.middle = middle
        self.width = 8
        self.register_buffer("columns", torch.linspace(0, 1, 32))
        self.codes = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self, self.stem(x).relu())
        return self.head(self.last(x).mean((2, 3)))


Middle = Callable[[Net, Tensor], Tensor]


def pad_to_four(net: Net, x: Tensor) -> Tensor:
    assert x.ndim == 4
    height, width = x.shape[-2:]
    below, right = -height % 4, -width % 4
    if below > 0 or right > 0:
        x = F.pad(x, (0, right, 0, below))
    return x


def resize_codes(net: Net, x: Tensor) -> Tensor:
    codes = net.codes
    if codes.shape[-2:] != x.shape[-2:]:
        codes = F.interpolate(codes, size=x.shape[-2:], mode="bilinear")
    return x + codes


def compare_alike(net: Net, x: Tensor) -> Tensor:
    y = x.clone()
    if y.shape != x.shape:
        y = y.mean(1, keepdim=True)
    return x + y


def cut_buffer(net: Net, x: Tensor) -> Tensor:
    return x * net.columns[: x.shape[3]]


def cut_by_int(net: Net, x: Tensor) -> Tensor:
    return x * net.columns[: int(x.shape[3])]


def count_samples(net: Net, x: Tensor) -> Tensor:
    for i in range(x.shape[0]):
        x = x + i
    return x


def scale_by_width(net: Net, x: Tensor) -> Tensor:
    return x / math.sqrt(x.shape[1]) * float(x.shape[1])


def use_layer_made_here(net: Net, x: Tensor) -> Tensor:
    return nn.ReLU()(nn.Identity()(x))


def ask_for_settings(net: Net, x: Tensor) -> Tensor:
    low = torch.finfo(x.dtype).min if x.dtype.is_floating_point else 0
    y = x.to(net.stem.weight.dtype).clamp(min=low)
    return y if y.device == net.stem.weight.device and y.ndim == 4 else y + 1


HARMLESS: dict[str, Middle] = {
    function.__name__: function
    for function in (
        pad_to_four,
        resize_codes,
        compare_alike,
        cut_buffer,
        cut_by_int,
        count_samples,
        scale_by_width,
        use_layer_made_here,
        ask_for_settings,
    )
}


@pytest.mark.parametrize("name", HARMLESS)
def test_decisions_by_other_sizes_narrow_all_and_are_exact(name: str) -> None:
    net = Net(HARMLESS[name]).eval()
    x = torch.randn(2, 3, 10, 10)
    supernet = build_supernet(net, x).eval()
    assert [group.name for group in supernet.groups][-1] == "last"
    assert len(supernet.groups) == 2
    rng = np.random.default_rng(0)
    with torch.no_grad():
        torch.testing.assert_close(supernet(x), net(x))
        for _ in range(3):
            widths = supernet.space.sample(rng)
            with supernet.active(widths):
                narrow = supernet(x)
            torch.testing.assert_close(extract_subnet(supernet, widths).eval()(x), narrow)


def insist(net: Net, x: Tensor) -> Tensor:
    assert x.shape[1] == 8
    return x


def refuse(net: Net, x: Tensor) -> Tensor:
    if x.shape[1] != net.width:
        raise ValueError(net.width)
    return x


def double_if_wide(net: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[1] > 4 else x


def add_for_each_channel(net: Net, x: Tensor) -> Tensor:
    for i in range(x.shape[1]):
        x = x + i
    return x


@pytest.mark.parametrize("middle", [insist, refuse, double_if_wide, add_for_each_channel])
def test_a_width_that_decides_stays_and_its_line_is_named(middle: Middle) -> None:
    supernet = build_supernet(Net(middle).eval(), torch.randn(2, 3, 10, 10))
    assert [group.name for group in supernet.groups] == ["last"]
    (frozen,) = [item for item in supernet.grouping.frozen if item.name == "stem"]
    lines, first = inspect.getsourcelines(middle)
    (reason,) = frozen.reasons
    assert "decides by its size" in reason
    assert any(f"{__file__}:{first + i})" in reason for i in range(len(lines)))
