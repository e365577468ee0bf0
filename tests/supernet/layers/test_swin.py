"""Swin transformers: heads, embeddings and blocks go, and the rest of the net follows exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from footprint.counters import count_macs
from footprint.counters import count_params
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.torchvision_ops import import_torchvision
from dpod_search.widths import Widths


swin = import_torchvision("models").swin_transformer

VERSIONS = {
    1: (swin.SwinTransformerBlock, swin.PatchMerging),
    2: (swin.SwinTransformerBlockV2, swin.PatchMergingV2),
}
# Whole windows, windows that need padding, an odd picture to merge, windows wider than it.
SIZES = (32, 24, 20, 8)
X = torch.linspace(-2, 2, 3 * 32 * 32).sin().reshape(1, 3, 32, 32)


def make_swin(version: int, **options: Any) -> nn.Module:
    block, downsample_layer = VERSIONS[version]
    model = swin.SwinTransformer(
        patch_size=[2, 2],
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[4, 4],
        num_classes=5,
        block=block,
        downsample_layer=downsample_layer,
        **options,
    )
    with torch.no_grad():
        for parameter in model.parameters():  # biases and bias tables start at 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def sample_widths(supernet: Supernet, n: int) -> list[Widths]:
    rng = np.random.default_rng(0)
    space = supernet.space
    return [space.full, space.smallest, *(space.sample(rng) for _ in range(n))]


def assert_close(got: Tensor, expected: Tensor) -> None:
    scale = float(expected.detach().abs().max())
    assert np.isfinite(scale)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * scale + 1e-9)


def take_gradients(net: nn.Module) -> None:
    """Put gradients in the place of weights: extraction cuts them as it cuts weights."""
    for parameter in net.parameters():
        gradient = parameter.grad
        parameter.data = torch.zeros_like(parameter) if gradient is None else gradient


def total(net: nn.Module) -> float:
    return sum(float(parameter.detach().abs().sum()) for parameter in net.parameters())


def assert_exact(supernet: Supernet, x: Tensor, n: int) -> None:
    footprint = build_footprint(supernet)
    for widths in sample_widths(supernet, n):
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths), torch.no_grad():
            assert_close(supernet(x), subnet(x))
        measured = footprint.measure(widths)
        assert measured["params"] == count_params(subnet)
        assert measured["macs"] == count_macs(subnet, x)


@pytest.mark.parametrize("version", VERSIONS)
def test_heads_embeddings_and_blocks_can_be_narrowed(version: int) -> None:
    supernet = build_supernet(make_swin(version), X)

    groups = {group.name: group for group in supernet.groups}
    first, second = groups["features.0.0"], groups["features.2.reduction"]
    assert (first.full_width, first.unit, first.kind) == (2, 8, "heads")
    assert (second.full_width, second.unit, second.kind) == (4, 8, "heads")
    assert {"features.1.0.attn.qkv.weight", "features.1.1.norm1"} <= set(first.members)
    blocks = [name for name, group in groups.items() if group.kind == "block"]
    assert blocks == ["features.1.0", "features.1.1", "features.3.0", "features.3.1"]
    assert [frozen.name for frozen in supernet.grouping.frozen] == ["head"]
    assert not supernet.grouping.uncounted


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", VERSIONS)
def test_narrow_runs_equal_extracted_nets_and_closed_forms(version: int, size: int) -> None:
    x = torch.randn(1, 3, size, size)
    assert_exact(build_supernet(make_swin(version), x), x, 20 if size == 20 else 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_gradients_are_those_of_the_extracted_net_and_zero_elsewhere(version: int) -> None:
    supernet = build_supernet(make_swin(version), X)
    for widths in sample_widths(supernet, 20):
        subnet = extract_subnet(supernet, widths)
        supernet.zero_grad()
        with supernet.active(widths):
            supernet(X).square().sum().backward()
        subnet(X).square().sum().backward()
        gradients = copy.deepcopy(supernet)
        for copied, own in zip(gradients.parameters(), supernet.parameters(), strict=True):
            copied.grad = own.grad
        take_gradients(gradients)
        active = extract_subnet(gradients, widths)
        take_gradients(subnet)
        assert total(active) == pytest.approx(total(gradients), rel=1e-4)
        for got, expected in zip(active.parameters(), subnet.parameters(), strict=True):
            assert_close(got, expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_dropout_and_stochastic_depth_draw_the_same(version: int) -> None:
    model = make_swin(version, dropout=0.2, attention_dropout=0.3, stochastic_depth_prob=0.5)
    supernet = build_supernet(model, X).train()
    for widths in sample_widths(supernet, 5):
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths):
            torch.manual_seed(1)
            got = supernet(X)
        torch.manual_seed(1)
        assert_close(got, subnet(X))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_extracted_net_says_its_sizes_and_is_exported(version: int) -> None:
    supernet = build_supernet(make_swin(version), X)
    widths = supernet.space.make({**supernet.space.full, "features.2.reduction": 3})
    subnet = extract_subnet(supernet, widths)
    attention = subnet.features[3][0].attn

    assert (attention.num_heads, attention.qkv.in_features) == (3, 24)
    assert attention.qkv.out_features == 72
    for layer in subnet.modules():
        if isinstance(layer, nn.Linear):
            assert tuple(layer.weight.shape) == (layer.out_features, layer.in_features)
    assert supernet.net.features[3][0].attn.qkv.out_features == 96
    rows = supernet.net.features[3][0].attn.qkv.weight.unflatten(0, (3, 32))  # of q, k and v
    assert torch.equal(attention.qkv.weight.unflatten(0, (3, 24)), rows[:, :24, :24])
    exported = torch.export.export(subnet, (X,)).module()
    assert_close(exported(X), subnet(X))


def test_a_bias_made_from_no_input_is_counted_whole_at_every_batch_size() -> None:
    one = build_supernet(make_swin(2), X)
    three = build_supernet(make_swin(2), X.expand(3, -1, -1, -1))

    macs = [build_footprint(net).measure(net.space.full)["macs"] for net in (one, three)]
    assert macs[0] == macs[1] == count_macs(one.net, X)


class Windows(nn.Module):
    """A windowed attention as someone may call it, with weights of one's own."""

    def __init__(self, attend: Callable[[Windows, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.own = nn.Parameter(torch.randn(24, 8) / 3)
        self.bias = nn.Parameter(torch.randn(1, 4, 4, 4))
        self.one_bias = nn.Parameter(torch.randn(4, 4))
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.side = nn.Linear(8, 4)
        self.head = nn.Linear(8, 2)
        self.n_heads = 4
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.permute(0, 2, 3, 1))
        return self.head(self.attend(self, x).mean([1, 2]))


def attend(
    net: Windows,
    x: Tensor,
    *,
    qkv: Tensor | None = None,
    bias: Tensor | None = None,
    heads: int | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    return swin.shifted_window_attention(
        x,
        net.qkv.weight if qkv is None else qkv,
        net.proj.weight,
        net.bias if bias is None else bias,
        [2, 2],
        net.n_heads if heads is None else heads,
        shift_size=[1, 1],
        qkv_bias=net.qkv.bias,
        logit_scale=scale,
        training=False,
    )


ELASTIC: dict[str, Callable[[Windows, Tensor], Tensor]] = {
    "scaled": lambda net, x: attend(net, x, scale=net.scale),
    "own-weight": lambda net, x: attend(net, x, qkv=net.own),
    "one-bias": lambda net, x: attend(net, x, bias=net.one_bias),
    "weight-read-twice": lambda net, x: attend(net, x) * net.qkv.weight.mean(),
    "called-twice": lambda net, x: attend(net, attend(net, x)),
}
FROZEN: dict[str, tuple[Callable[[Windows, Tensor], Tensor], str]] = {
    "heads-of-the-codes-own": (
        lambda net, x: attend(net, x, heads=4),
        "a number of heads of the code's own",
    ),
    "computed-heads": (
        lambda net, x: attend(net, x, heads=x.shape[3] // 2),
        "a number of heads that is computed",
    ),
    "computed-weight": (
        lambda net, x: attend(net, x, qkv=net.qkv.weight * 2),
        "weights that are computed",
    ),
    "called-weight": (
        lambda net, x: attend(net, x) + net.proj(x),
        "shares windows.proj.weight with another operation",
    ),
    "bias-of-fixed-heads": (
        lambda net, x: attend(net, x, bias=torch.ones(1, 4, 4, 4)),
        "channels of fixed number",
    ),
}


def make_windows(call: Callable[[Windows, Tensor], Tensor]) -> nn.Module:
    return Windows(call).eval()


PICTURE = torch.linspace(-2, 2, 3 * 5 * 6).sin().reshape(1, 3, 5, 6)


@pytest.mark.parametrize("name", ELASTIC)
def test_other_ways_to_call_it_stay_elastic(name: str) -> None:
    supernet = build_supernet(make_windows(ELASTIC[name]), PICTURE)

    (group,) = supernet.groups
    assert (group.name, group.full_width, group.unit, group.kind) == ("stem", 4, 2, "heads")
    assert_exact(supernet, PICTURE, 4)


@pytest.mark.parametrize("name", FROZEN)
def test_what_cannot_be_exact_keeps_its_width_and_says_why(name: str) -> None:
    call, word = FROZEN[name]

    class Two(nn.Module):
        """The attention is frozen; something else is not, so that there is a supernet."""

        def __init__(self) -> None:
            super().__init__()
            self.pre = nn.Conv2d(3, 6, 1)
            self.post = nn.Conv2d(6, 3, 1)
            self.windows = Windows(call)

        def forward(self, x: Tensor) -> Tensor:
            return self.windows(self.post(self.pre(x)))

    supernet = build_supernet(Two().eval(), PICTURE)

    assert "windows.stem" not in {group.name for group in supernet.groups}
    frozen = {item.name: "; ".join(item.reasons) for item in supernet.grouping.frozen}
    assert word in frozen["windows.stem"]
    assert "running it narrower" not in frozen["windows.stem"]
    if name != "computed-weight":
        assert not supernet.grouping.uncounted
    assert_exact(supernet, PICTURE, 2)
