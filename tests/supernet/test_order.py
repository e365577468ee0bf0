"""A subnet's weights are the full net's, each for the same channel; where not, the group says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from strategies import Net
from strategies import cnns
from strategies import scramble_norms
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.errors import GroupingError
from dpod_search.models.torchvision_nets import build_torchvision_net
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.layout import take
from dpod_search.widths import Widths


X = torch.randn(2, 3, 5, 5)


def shuffle(x: Tensor, n_runs: int = 2) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, n_runs, channels // n_runs, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


class Cut(nn.Module):
    """A convolution and its norm, what a test says, and a head."""

    def __init__(self, middle: Callable[[Tensor], Tensor], n_after: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.middle = middle
        self.last = nn.Conv2d(n_after, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(F.relu(self.norm(self.stem(x))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class Unit(nn.Module):
    """A unit of ShuffleNetV2: one half passes, both are shuffled."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(n, n, 1), nn.BatchNorm2d(n), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([first, self.branch(second)], 1), 2)


class Swap(Unit):
    """The same unit, but the halves change places: each begins where it did at every width."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([self.branch(second), first], 1)


def stack(kind: type[Unit]) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), kind(8), kind(8), nn.Conv2d(16, 6, 1))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def mask(supernet: Supernet, widths: Widths) -> nn.Module:
    """The full net, in which all channels that a subnet has not are 0."""
    full = extract_subnet(supernet, supernet.space.full).eval()
    for plan in supernet.grouping.layers:
        layer = full.get_submodule(plan.name)
        kept = take(torch.arange(len(layer.weight)), 0, plan.output, widths.active)
        gone = torch.ones(len(layer.weight), dtype=torch.bool).index_fill(0, kept, False)
        for parameter in layer.parameters():
            parameter.data[gone] = 0
    return full


def is_masked_full_net(supernet: Supernet, x: Tensor = X) -> bool:
    """Say whether narrow subnets compute what the full net does without their lacking channels."""
    for ratio in (0.25, 0.5, 0.75):
        widths = supernet.space.uniform(ratio)
        full = {g.name: 1 for g in supernet.groups if g.kind == "block"}
        widths = supernet.space.make({**widths, **full})  # a block that is gone is no channel
        with torch.no_grad():
            wanted = mask(supernet, widths)(x)
            got = extract_subnet(supernet, widths).eval()(x)
        if not torch.allclose(got, wanted, atol=1e-5):
            return False
    return True


def build(model: nn.Module) -> Supernet:
    return build_supernet(scramble_norms(model).eval(), X, ratios=(0.25, 0.5, 0.75))


def halve(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return first - 2 * second


IN_ORDER: dict[str, Callable[[], nn.Module]] = {
    "no cut": lambda: Cut(lambda x: x),
    "channel shuffle": lambda: Cut(lambda x: F.channel_shuffle(x, 2)),
    "shuffle by hand": lambda: Cut(shuffle),
    "chunk": lambda: Cut(halve, 4),
    "split": lambda: Cut(lambda x: torch.cat(x.split(x.shape[1] // 2, 1)[::-1], 1)),
    "gate": lambda: Cut(lambda x: F.glu(x, 1), 4),
    "halves that change places": lambda: stack(Swap),
}


@pytest.mark.parametrize("case", IN_ORDER)
def test_a_layer_that_is_cut_in_parts_keeps_the_first_channels_of_each(case: str) -> None:
    """It did so only where nothing, not even its norm, stood between the layer and the cut."""
    torch.manual_seed(0)
    supernet = build(IN_ORDER[case]())

    assert all(not group.out_of_order for group in supernet.groups)
    assert is_masked_full_net(supernet)


def test_a_cut_after_a_shuffle_is_out_of_order_and_named() -> None:
    torch.manual_seed(0)
    supernet = build(stack(Unit))

    told = {group.name: group.out_of_order for group in supernet.groups}
    assert list(told) == ["0.0", "0.4"]
    assert not told["0.4"]
    (reason,) = told["0.0"]
    assert reason.startswith("chunk (")
    assert f"{__file__}:" in reason
    assert "begin at other channels when it is narrower" in reason
    assert not is_masked_full_net(supernet)


def test_grouped_convolutions_with_a_shuffle_between_are_out_of_order() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1),
        nn.Conv2d(16, 16, 1, groups=4),
        nn.BatchNorm2d(16),
        nn.ChannelShuffle(4),
        nn.Conv2d(16, 16, 1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    supernet = build(model)

    (group,) = supernet.groups
    assert [reason.partition(" ")[0] for reason in group.out_of_order] == ["3"]
    assert not is_masked_full_net(supernet)


@pytest.mark.parametrize(
    ("name", "is_shuffled"), [("shufflenet_v2_x0_5", True), ("resnet18", False)]
)
def test_published_nets(name: str, is_shuffled: bool) -> None:
    model = build_torchvision_net(name, n_classes=7, arguments={}).eval()
    supernet = build_supernet(model, torch.randn(1, 3, 64, 64))

    named = [group.name for group in supernet.groups if group.out_of_order]
    stages = ["stage2.0.branch1.2", "stage3.0.branch1.2", "stage4.0.branch1.2"]
    assert named == (stages if is_shuffled else [])


@settings(max_examples=20, deadline=None)
@given(cnns())
def test_convolutional_nets_of_any_shape_are_in_order_or_say_so(net: Net) -> None:
    try:
        supernet = build_supernet(net.model.eval(), net.example, ratios=(0.25, 0.5, 0.75))
    except GroupingError:
        return  # it has one of each channel
    assert is_masked_full_net(supernet, net.example) or any(
        g.out_of_order for g in supernet.groups
    )
