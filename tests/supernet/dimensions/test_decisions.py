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

from dpod_search.errors import GroupingError
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
        self.places = nn.Parameter(torch.randn(1, 8, 10, 10))

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


def add_places_of_its_size(net: Net, x: Tensor) -> Tensor:
    if net.places.shape[2] == x.shape[2] and net.places.shape[1] == x.shape[1]:
        return x + net.places
    return x


def compare_alike(net: Net, x: Tensor) -> Tensor:
    y = x.clone()
    if y.shape != x.shape:
        y = y.mean(1, keepdim=True)
    return x + y


def cut_buffer(net: Net, x: Tensor) -> Tensor:
    return x * net.columns[: x.shape[3]]


def cut_by_int(net: Net, x: Tensor) -> Tensor:
    return x * net.columns[: int(x.shape[3])]


def mask_with_ones(net: Net, x: Tensor) -> Tensor:
    mask = torch.ones(x.shape[0], 1, x.shape[2], x.shape[3], device=x.device)
    return x * mask.expand(x.shape[0], -1, -1, -1) * torch.tensor(x.shape[2], dtype=x.dtype)


def count_samples(net: Net, x: Tensor) -> Tensor:
    for i in range(x.shape[0]):
        x = x + i
    return x


def scale_by_width(net: Net, x: Tensor) -> Tensor:
    return x / math.sqrt(x.shape[1]) * x.shape[1] ** 0.5 * float(x.shape[2])


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
        add_places_of_its_size,
        compare_alike,
        cut_buffer,
        cut_by_int,
        mask_with_ones,
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


def multiply_if_a_float_is_large(net: Net, x: Tensor) -> Tensor:
    return x * 2 if float(x.shape[1]) >= 5 else x


def treat_seven_alone(net: Net, x: Tensor) -> Tensor:
    return x + 1 if x.shape[1] == 7 else x


@pytest.mark.parametrize(
    "middle",
    [
        insist,
        refuse,
        double_if_wide,
        add_for_each_channel,
        multiply_if_a_float_is_large,
        treat_seven_alone,
    ],
)
def test_a_width_that_decides_stays_and_its_line_is_named(middle: Middle) -> None:
    supernet = build_supernet(Net(middle).eval(), torch.randn(2, 3, 10, 10))
    assert [group.name for group in supernet.groups] == ["last"]
    (frozen,) = [item for item in supernet.grouping.frozen if item.name == "stem"]
    lines, first = inspect.getsourcelines(middle)
    (reason,) = frozen.reasons
    assert "decides by its size" in reason
    assert any(f"{__file__}:{first + i})" in reason for i in range(len(lines)))


class Two(nn.Module):
    """Two layers whose widths are compared with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 16), nn.Linear(4, 24)
        self.down, self.head = nn.Linear(16, 24), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.one(x).relu(), self.two(x).relu()
        if one.shape[1] != two.shape[1]:
            one = self.down(one)
        return self.head(torch.cat([one, two], 1))


def test_widths_that_decide_together_stay() -> None:
    supernet = build_supernet(Two().eval(), torch.randn(2, 4))
    assert {"one", "two"}.isdisjoint(group.name for group in supernet.groups)


VALUES: dict[str, Middle] = {
    "item": lambda net, x: x * 2 if x.abs().max().item() < 100 else x,
    "list": lambda net, x: x * 2 if x.flatten().tolist()[0] < 100 else x,
    "equal": lambda net, x: x * 2 if torch.equal(x, x.flip(3)) else x,
    "count": lambda net, x: x * len(torch.nonzero(x > 0)[:3].tolist()),
    "size of what values choose": lambda net, x: x * 2 if int((x > 0).sum()) > 3 else x,
}


@pytest.mark.parametrize("name", VALUES)
def test_what_values_decide_is_refused(name: str) -> None:
    with pytest.raises(GroupingError, match="cannot be traced"):
        build_supernet(Net(VALUES[name]).eval(), torch.randn(2, 3, 10, 10))
