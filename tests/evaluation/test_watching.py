"""A layer and its norm are run as one only where nobody else sees what the layer makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.evaluation.watching import find_normed_layers


class Tried(nn.Module):
    """Runs a function over a convolution, a BatchNorm and their input."""

    def __init__(self, run: Callable[[Tried, Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.other = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)
        self.flat_norm = nn.BatchNorm1d(4)
        self.run = run
        self.features: Tensor | None = None

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


def keep_features(net: Tried, x: Tensor) -> Tensor:
    net.features = net.conv(x)
    return net.norm(net.features)


def read_later(net: Tried, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) + y


def read_a_view(net: Tried, x: Tensor) -> Tensor:
    y = net.conv(x)
    view = y[:, :2]
    return net.norm(y)[:, :2] + view


def read_by_two_norms(net: Tried, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) + net.other(y)


def return_it(net: Tried, x: Tensor) -> object:
    y = net.conv(x)
    return {"scores": net.norm(y), "features": [y]}


def run_twice(net: Tried, x: Tensor) -> Tensor:
    return net.norm(net.conv(net.norm(net.conv(x))[:, :3]))


def norm_over_tokens(net: Tried, x: Tensor) -> Tensor:
    tokens = x.reshape(-1, 4, 4)  # the norm's channels are in the middle, the layer's the last
    return net.flat_norm(net.linear(tokens))


def bend_between(net: Tried, x: Tensor) -> Tensor:
    return net.norm(torch.relu_(net.conv(x)))


@pytest.mark.parametrize(
    "run",
    [
        keep_features,
        read_later,
        read_a_view,
        read_by_two_norms,
        return_it,
        run_twice,
        norm_over_tokens,
        bend_between,
    ],
)
def test_what_somebody_else_sees_is_left_alone(run: Callable[[Tried, Tensor], object]) -> None:
    assert find_normed_layers(Tried(run), torch.randn(2, 3, 4, 4)) == ()


@pytest.mark.parametrize(
    "run",
    [
        lambda net, x: net.norm(net.conv(x)),
        lambda net, x: net.norm(nn.functional.dropout(net.conv(x), training=False)),
        lambda net, x: net.other(net.other(net.norm(net.conv(x)))),
    ],
    ids=["plain", "dropout that is off", "another norm after it"],
)
def test_what_its_norm_alone_reads_is_found(run: Callable[[Tried, Tensor], Tensor]) -> None:
    net = Tried(run).train()
    found = find_normed_layers(net, torch.randn(2, 3, 4, 4))

    assert [(pair.layer, pair.norm) for pair in found] == [(net.conv, net.norm)]
    assert all(module.training for module in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_linear_layer_over_features_is_found() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())

    assert len(find_normed_layers(net, torch.randn(2, 3))) == 1


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


def spoil(net: nn.Sequential, how: str) -> nn.Sequential:
    if how == "hook on the layer":
        net[0].register_forward_hook(lambda m, i, o: None)
    elif how == "hook on the norm":
        net[1].register_forward_pre_hook(lambda m, i: None)
    elif how == "weight norm":
        nn.utils.parametrizations.weight_norm(net[0])
    elif how == "circular":
        net[0].padding_mode = "circular"
    elif how == "no statistics":
        net[1] = nn.BatchNorm2d(4, track_running_stats=False)
    elif how == "own class":
        net[0] = type("Own", (nn.Conv2d,), {})(3, 4, 3)
    elif how == "own forward":
        net[0].forward = net[0].forward  # type: ignore[method-assign]
    elif how == "half precision":
        net[0] = nn.Sequential(Cast(torch.bfloat16), nn.Conv2d(3, 4, 3).bfloat16())
    return net


@pytest.mark.parametrize(
    "how",
    [
        "hook on the layer",
        "hook on the norm",
        "weight norm",
        "circular",
        "no statistics",
        "own class",
        "own forward",
        "half precision",
    ],
)
def test_what_does_more_than_its_class_is_left_alone(how: str) -> None:
    net = spoil(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), how)

    assert find_normed_layers(net, torch.randn(2, 3, 4, 4)) == ()
