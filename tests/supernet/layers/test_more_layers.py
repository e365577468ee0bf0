"""Layers and operations one by one, each in a small net whose channels stay elastic.

For each the supernet is the extracted net at every width, in what it computes, in its gradients
and in the statistics it gathers, and both cost what the closed forms say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import pytest
import torch
from supernet.exactness import assert_close
from supernet.exactness import assert_same_gradients
from supernet.exactness import assert_same_run
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.widths import Widths


N_WIDTHS = 20
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
Middle = Callable[["Net", Tensor, Tensor], Tensor]  # of the stem's output and the picture


@dataclass(frozen=True)
class Case:
    """What stands between a convolution to eight channels and one from ``n_after``."""

    middle: Middle = lambda net, x, p: net.extra(x)
    extra: nn.Module = field(default_factory=nn.Identity)
    n_after: int = 8
    n_spatial: int = 2
    groups: tuple[str, ...] = ("stem", "last")
    unit: int = 1


class Net(nn.Module):
    """A stem, what a case says, one more convolution and a head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        conv = CONVS[case.n_spatial]
        self.stem = conv(3, 8, 3, padding=1)
        self.side = conv(3, 8, 1)
        self.extra = copy.deepcopy(case.extra)
        self.last = conv(case.n_after, 6, 1)
        self.head = nn.Linear(6, 3)
        self.middle = case.middle

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.middle(self, self.stem(x), x))
        return self.head(F.gelu(x).flatten(2).mean(2))


def both(net: Net, x: Tensor, p: Tensor) -> Tensor:
    return torch.cat([x, net.side(p)], 1)


def make(case: Case) -> tuple[Supernet, Tensor]:
    torch.manual_seed(0)
    net = Net(case)
    for tensor in (*net.extra.parameters(), *net.extra.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.9)
    x = torch.randn(2, 3, *(6,) * case.n_spatial)
    return build_supernet(net.eval(), x), x


def sample_widths(supernet: Supernet) -> list[Widths]:
    rng = np.random.default_rng(0)
    space = supernet.space
    return [space.smallest, *(space.sample(rng) for _ in range(N_WIDTHS))]


def count_macs(subnet: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        subnet(x)
    n_operations = counter.get_total_flops()
    assert n_operations % (2 * len(x)) == 0
    return n_operations // (2 * len(x))


def assert_exact(supernet: Supernet, x: Tensor, *, n_trained: int = N_WIDTHS) -> None:
    footprint = build_footprint(supernet)
    assert not supernet.grouping.uncounted
    for number, widths in enumerate(sample_widths(supernet)):
        subnet = extract_subnet(supernet, widths)
        plain = {type(module) for module in subnet.modules()} - {Net}
        assert all(kind.__module__.startswith("torch.nn.") for kind in plain)
        assert_same_gradients(supernet, subnet, widths, x)
        measured = footprint.measure(widths)
        assert measured["macs"] == count_macs(subnet, x)
        assert measured["params"] == sum(p.numel() for p in subnet.parameters())
        stored = (*subnet.parameters(), *(b for b in subnet.buffers() if b.is_floating_point()))
        assert measured["weight_bytes"] == 4 * sum(t.numel() for t in stored)
        assert_same_run(supernet, subnet, widths, x, trains=number <= n_trained)


def up_as(net: Net, x: Tensor, p: Tensor) -> Tensor:
    half = F.max_pool2d(x, 2)
    return net.extra(half, output_size=x.shape[2:])


LAYERS: dict[str, Case] = {
    "transposed-1d": Case(
        extra=nn.ConvTranspose1d(8, 7, 3, stride=2, output_padding=1, bias=False),
        n_after=7,
        n_spatial=1,
        groups=("stem", "extra", "last"),
    ),
    "transposed-2d": Case(
        extra=nn.ConvTranspose2d(8, 5, (3, 2), stride=(2, 1), padding=1, dilation=2),
        n_after=5,
        groups=("stem", "extra", "last"),
    ),
    "transposed-3d": Case(
        extra=nn.ConvTranspose3d(8, 4, 2, stride=2),
        n_after=4,
        n_spatial=3,
        groups=("stem", "extra", "last"),
    ),
    "transposed-depthwise": Case(extra=nn.ConvTranspose2d(8, 8, 3, stride=2, groups=8)),
    "transposed-multiplier": Case(extra=nn.ConvTranspose2d(8, 16, 2, groups=8), n_after=16),
    "transposed-grouped": Case(extra=nn.ConvTranspose2d(8, 12, 2, groups=4), n_after=12, unit=2),
    "transposed-fewer": Case(extra=nn.ConvTranspose2d(8, 4, 2, groups=2), n_after=4, unit=4),
    "transposed-output-size": Case(
        up_as, nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1), groups=("stem", "extra", "last")
    ),
    "transposed-output-shape": Case(
        lambda net, x, p: net.extra(F.max_pool2d(x, 2), p.size()),
        nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1),
        groups=("stem", "extra", "last"),
    ),
    "transposed-twice": Case(
        lambda net, x, p: net.extra(F.relu(net.extra(x))), nn.ConvTranspose2d(8, 8, 2, stride=2)
    ),
    "transposed-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)),
        nn.ConvTranspose2d(16, 5, 2),
        n_after=5,
        groups=("stem", "side", "extra", "last"),
    ),
    "transposed-depthwise-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)),
        nn.ConvTranspose2d(16, 32, 2, groups=16),
        n_after=32,
        groups=("stem", "side", "last"),
    ),
    "prelu": Case(extra=nn.PReLU(8)),
    "prelu-one-slope": Case(lambda net, x, p: net.extra(net.extra(x)), nn.PReLU()),
    "prelu-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)),
        nn.PReLU(16),
        16,
        groups=("stem", "side", "last"),
    ),
    "instance-norm-1d": Case(extra=nn.InstanceNorm1d(8), n_spatial=1),
    "instance-norm-2d": Case(extra=nn.InstanceNorm2d(8, affine=True)),
    "instance-norm-3d": Case(
        extra=nn.InstanceNorm3d(8, affine=True, track_running_stats=True), n_spatial=3
    ),
    "instance-norm-tracking": Case(extra=nn.InstanceNorm2d(8, track_running_stats=True)),
    "instance-norm-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)),
        nn.InstanceNorm2d(16, affine=True, track_running_stats=True, momentum=0.3),
        n_after=16,
        groups=("stem", "side", "last"),
    ),
    "batch-norm-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)),
        nn.BatchNorm2d(16),
        n_after=16,
        groups=("stem", "side", "last"),
    ),
    "rms-norm": Case(
        lambda net, x, p: net.extra(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.RMSNorm(8)
    ),
    "rms-norm-without-scale": Case(
        lambda net, x, p: net.extra(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        nn.RMSNorm(8, eps=1e-3, elementwise_affine=False),
    ),
    "rms-norm-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        nn.RMSNorm(16),
        n_after=16,
        groups=("stem", "side", "last"),
    ),
    "rms-norm-of-places": Case(extra=nn.RMSNorm(6)),
    "local-response-norm": Case(extra=nn.LocalResponseNorm(3, alpha=0.5)),
    "channel-shuffle": Case(extra=nn.ChannelShuffle(4), unit=4),
    "channel-shuffle-concat": Case(
        lambda net, x, p: net.extra(both(net, x, p)), nn.ChannelShuffle(2), n_after=16
    ),
    "channel-shuffle-function": Case(lambda net, x, p: F.channel_shuffle(x, 2), unit=2),
    "pixel-shuffle": Case(extra=nn.PixelShuffle(2), n_after=2, unit=4),
    "pixel-shuffle-concat": Case(
        lambda net, x, p: F.pixel_shuffle(both(net, x, p), 2),
        n_after=4,
        groups=("stem", "side", "last"),
        unit=4,
    ),
    "pixel-unshuffle": Case(extra=nn.PixelUnshuffle(3), n_after=72),
    "pixel-unshuffle-concat": Case(
        lambda net, x, p: F.pixel_unshuffle(both(net, x, p), downscale_factor=2),
        n_after=64,
        groups=("stem", "side", "last"),
    ),
    "glu": Case(extra=nn.GLU(1), n_after=4, unit=2),
    "glu-concat": Case(lambda net, x, p: F.glu(both(net, x, p), dim=-3)),
    "glu-of-places": Case(lambda net, x, p: F.glu(x)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    case = LAYERS[name]
    supernet, x = make(case)

    groups = {group.name: group for group in supernet.groups}
    assert set(groups) == set(case.groups)
    assert groups["stem"].unit == case.unit
    assert_exact(supernet, x)


WEIGHTLESS: dict[str, Case] = {
    **{
        f"module-{type(module).__name__}": Case(extra=module, n_spatial=n_spatial)
        for n_spatial, modules in {
            1: (
                nn.AdaptiveAvgPool1d(2),
                nn.AdaptiveMaxPool1d(2),
                nn.LPPool1d(2, 2),
                nn.ZeroPad1d(1),
                nn.ConstantPad1d(1, 0.5),
                nn.ReflectionPad1d(1),
                nn.ReplicationPad1d((1, 2)),
                nn.CircularPad1d(1),
                nn.Dropout1d(),
            ),
            2: (
                nn.AdaptiveMaxPool2d(2),
                nn.LPPool2d(2, 2),
                nn.Upsample(scale_factor=2),
                nn.UpsamplingNearest2d(scale_factor=2),
                nn.UpsamplingBilinear2d(9),
                nn.ZeroPad2d((1, 0, 2, 0)),
                nn.ConstantPad2d(1, 0.5),
                nn.ReflectionPad2d(1),
                nn.ReplicationPad2d(-1),
                nn.CircularPad2d(1),
                nn.Softmax(1),
                nn.Softmax2d(),
                nn.Softmin(1),
                nn.LogSoftmax(-3),
                nn.Hardshrink(),
                nn.Softshrink(),
                nn.Tanhshrink(),
                nn.Threshold(0.1, 0.2),
                nn.RReLU(),
                nn.GELU("tanh"),
                nn.AlphaDropout(),
                nn.FeatureAlphaDropout(),
            ),
            3: (
                nn.AdaptiveAvgPool3d(2),
                nn.LPPool3d(2, 2),
                nn.MaxPool3d(2),
                nn.ZeroPad3d(1),
                nn.ConstantPad3d(1, 0.5),
                nn.ReflectionPad3d(1),
                nn.ReplicationPad3d(1),
                nn.CircularPad3d(1),
                nn.Dropout3d(),
            ),
        }.items()
        for module in modules
    },
    **{
        f"pool-{name}-{n}d": Case(
            lambda net, x, p, name=name, n=n, k=n_arguments: getattr(F, f"{name}{n}d")(
                x, *(2,) * k
            ),
            n_spatial=n,
        )
        for name, n_arguments in (
            ("max_pool", 1),
            ("avg_pool", 1),
            ("lp_pool", 2),
            ("adaptive_avg_pool", 1),
            ("adaptive_max_pool", 1),
        )
        for n in (1, 2, 3)
    },
    "pool-whole": Case(lambda net, x, p: x * F.avg_pool2d(x, x.size()[2:])),
    "pool-to-rows": Case(lambda net, x, p: F.adaptive_avg_pool2d(x, (None, p.shape[-1] // 2))),
    "interpolate": Case(lambda net, x, p: F.interpolate(x, scale_factor=2.0, mode="bilinear")),
    "interpolate-as": Case(lambda net, x, p: F.interpolate(F.max_pool2d(x, 2), x.shape[2:]) + x),
    "interpolate-sizes": Case(
        lambda net, x, p: F.interpolate(x, size=(x.size(2) * 2, x.shape[3]), mode="nearest")
    ),
    "pad": Case(lambda net, x, p: F.pad(x, (1, 1, 0, 2))),
    "pad-not-channels": Case(lambda net, x, p: F.pad(x, (1, 1, 0, 2, 0, 0), "constant", 0.5)),
    "pad-channels": Case(lambda net, x, p: F.pad(x, (0, 0, 0, 0, 1, 2)), n_after=11),
    "pad-channels-ones": Case(
        lambda net, x, p: F.pad(x, (0, 0, 0, 0, 1, 2), value=1.0), n_after=11
    ),
    "pad-to": Case(lambda net, x, p: F.pad(x, [0, p.size(3) - x.size(3) + 1, 0, p.size(2) // 2])),
}
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: F.softmax(x, dim=1),
    "softmax-torch": lambda x: torch.softmax(x, 1),
    "softmax-method": lambda x: x.softmax(dim=1),
    "log-softmax": lambda x: F.log_softmax(x, 1) + torch.log_softmax(x, 2) + x.log_softmax(3),
    "normalize": lambda x: F.normalize(x, dim=1),
    "local-response-norm": lambda x: F.local_response_norm(x, 5, alpha=0.3),
    "logs": lambda x: (x.abs() + 1).log() + torch.log1p(x * x) + torch.log2(x.square() + 1),
    "exps": lambda x: torch.exp(-x) + x.expm1() + torch.erf(x) + x.tanh().atanh(),
    "roots": lambda x: torch.sqrt(x.abs() + 1) + (x.pow(2) + 1).rsqrt() + (x**2 + 1) ** 0.5,
    "power": lambda x: torch.pow(x, 3) + 2**x + (x.abs() + 1).reciprocal(),
    "waves": lambda x: torch.sin(x) + x.cos(),
    "clamp": lambda x: x.clamp(-1, 1) + torch.clamp(x, min=0) + x.clamp_min(0.1) + x.clip(max=1),
    "clamp-tensor": lambda x: torch.clamp(x, max=x.tanh()) + x.clamp(min=x.mean((2, 3), True)),
    "shrinks": lambda x: F.hardshrink(x) + F.softshrink(x) + F.tanhshrink(x) + F.softplus(x),
    "selus": lambda x: F.selu(x) + F.celu(x) + F.rrelu(x) + F.threshold(x, 0.1, 0.2),
    "gelu": lambda x: F.gelu(x, approximate="tanh") + F.logsigmoid(x) + F.softsign(x),
    "dropouts": lambda x: F.alpha_dropout(x) + F.dropout3d(x[:, :, None], training=False)[:, :, 0],
    "casts": lambda x: x.double().float().type(torch.float64).to(torch.float32) + x.type_as(x),
    "masks": lambda x: x.masked_fill(x > 0.3, 0.5) + torch.where(x <= 0, x, 2 * x),
    "mask-logic": lambda x: x * ((x > 0) & ~(x >= 1) | x.lt(-1)) + (x != 0).float(),
    "mask-of-places": lambda x: x.masked_fill(torch.zeros(6, 6) > 1, 3.0) + x.where(x > 0, x * x),
    "extremes": lambda x: torch.maximum(x, x * x) + torch.minimum(x, x.neg()) + x.fmod(2),
    "in-place": lambda x: (x * 1).clamp_(-1, 1).mul_(2).neg_().masked_fill_(x > 0.5, 0.1),
    "sums": lambda x: x * x.sum((2, 3), keepdim=True) + x.sum(-1).sum(dim=2)[:, :, None, None],
    "sum-torch": lambda x: x + torch.sum(x, [2, 3])[:, :, None, None] * torch.sum(x, -1, True),
    "extremes-of-places": lambda x: x * x.amax((2, 3), True) - torch.amin(x, dim=3, keepdim=True),
    "deviations": lambda x: x / (1 + x.std((2, 3), keepdim=True)) + x.var(-1, keepdim=True),
    "norms": lambda x: x / x.norm(dim=(2, 3), keepdim=True) + torch.norm(x, 2, -1, True),
    "vector-norm": lambda x: x * torch.linalg.vector_norm(x, 2, (2, 3), keepdim=True),
    "logsumexp": lambda x: x + torch.logsumexp(x, (2, 3), keepdim=True),
}
WEIGHTLESS |= {
    f"function-{name}": Case(lambda net, x, p, run=run: run(x)) for name, run in UNARY.items()
}


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_layers_without_weights(name: str) -> None:
    supernet, x = make(WEIGHTLESS[name])

    groups = {group.name: group.unit for group in supernet.groups}
    assert groups == {"stem": 1, "last": 1}
    assert_exact(supernet, x, n_trained=2)


@pytest.mark.parametrize("name", LAYERS)
def test_the_smallest_subnet_can_be_exported(name: str) -> None:
    supernet, x = make(LAYERS[name])
    subnet = extract_subnet(supernet, supernet.space.smallest).eval()
    exported = torch.export.export(subnet, (x,))

    assert_close(exported.module()(x), subnet(x))


FROZEN: dict[str, tuple[Case, str]] = {
    "transposed-straddles": (
        Case(
            lambda net, x, p: net.extra(torch.cat([both(net, x, p), x[:, :, :, :]], 1)),
            nn.ConvTranspose2d(24, 6, 1, groups=2),
            n_after=6,
        ),
        "straddle a concat",
    ),
    "transposed-size-of-channels": (
        Case(
            lambda net, x, p: net.extra(x[:, :, :4, :4], output_size=(x.shape[1], x.shape[1])),
            nn.ConvTranspose2d(8, 8, 2, stride=2),
        ),
        "makes space of its size",
    ),
    "interpolate-channels": (
        Case(lambda net, x, p: F.interpolate(x, (x.shape[1], 2 * x.size(1)))),
        "makes space of its size",
    ),
    "interpolate-shape": (
        Case(lambda net, x, p: F.interpolate(x, x.transpose(1, 3).shape[2:])),
        "makes space of its size",
    ),
    "upsample-channels": (
        Case(
            lambda net, x, p: F.interpolate(x.transpose(1, 2), scale_factor=2.0)[
                :, :, :8
            ].transpose(1, 2)
        ),
        "slides over it",
    ),
    "pad-computed-channels": (
        Case(lambda net, x, p: F.pad(x, (0, 0, 0, 0, 0, x.size(1))), n_after=16),
        "makes space of its size",
    ),
    "pad-with-channels": (
        Case(lambda net, x, p: F.pad(x, (0, x.size(1)))),
        "makes space of its size",
    ),
    "pool-channels": (
        Case(lambda net, x, p: F.avg_pool3d(x, 2, stride=1), n_after=7),
        "slides over it",
    ),
    "pool-linear": (
        Case(lambda net, x, p: F.max_pool1d(x.mean((2, 3)), 2)[:, :, None, None], n_after=4),
        "slides over it",
    ),
    "max-with-indices": (
        Case(lambda net, x, p: p * torch.max(x, 1, True)[0], n_after=3),
        "numbers its channels",
    ),
    "shuffle-unevenly": (
        Case(
            lambda net, x, p: F.channel_shuffle(torch.cat([both(net, x, p), x], 1), 2),
            n_after=24,
        ),
        "cuts it unevenly",
    ),
    "pixel-shuffle-straddles": (
        Case(lambda net, x, p: F.pixel_shuffle(torch.cat([x, p[:, :1]], 1), 3), n_after=1),
        "straddle a concat",
    ),
    "shuffled-channels-as-places": (
        Case(
            lambda net, x, p: F.pixel_unshuffle(x.transpose(1, 2), 2).reshape(2, -1, 2, 3),
            n_after=48,
        ),
        "shuffles its places",
    ),
    "glu-unevenly": (
        Case(lambda net, x, p: F.glu(torch.cat([both(net, x, p), x], 1), 1), n_after=12),
        "cuts it unevenly",
    ),
    "instance-norm-without-batch": (
        Case(
            lambda net, x, p: net.extra(x.mean(3).mean(2))[:, :, None, None], nn.InstanceNorm1d(2)
        ),
        "without a batch dimension",
    ),
    "rms-norm-of-all": (Case(extra=nn.RMSNorm([8, 6, 6])), "several axes"),
    "unflatten": (
        Case(lambda net, x, p: net.extra(x).flatten(1, 2), nn.Unflatten(1, (2, 4))),
        "size that does not follow the widths",
    ),
    "where-of-fixed": (
        Case(lambda net, x, p: torch.where(torch.arange(8.0).view(8, 1, 1) > 3, x, -x)),
        "fixed number",
    ),
    "mask-of-channels": (
        Case(lambda net, x, p: x.masked_fill(torch.arange(8).view(8, 1, 1) > 3, 0.0)),
        "fixed number",
    ),
}


REDUCED = {
    "channel-sum": Case(lambda net, x, p: p[:, :1] * x.sum(1, True), n_after=1),
    "sum-of-all": Case(lambda net, x, p: p * x.sum(), n_after=3),
    "std-of-all": Case(lambda net, x, p: p * x.std(False), n_after=3),
    "norm-of-channels": Case(lambda net, x, p: p * torch.norm(x, 2, 1, True), n_after=3),
}


@pytest.mark.parametrize("name", REDUCED)
def test_what_is_reduced_is_that_of_the_channels_that_are_there(name: str) -> None:
    supernet, x = make(REDUCED[name])
    assert {"stem", "last"} <= {group.name for group in supernet.groups}
    assert_exact(supernet, x)


@pytest.mark.parametrize("name", FROZEN)
def test_what_cannot_be_narrowed_exactly_is_frozen(name: str) -> None:
    case, word = FROZEN[name]
    supernet, x = make(case)

    frozen = {item.name: "; ".join(item.reasons) for item in supernet.grouping.frozen}
    assert word in frozen["stem"]
    assert "last" in {group.name for group in supernet.groups}
    for widths in sample_widths(supernet)[:5]:
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths):
            assert_close(supernet(x), subnet(x))
        assert build_footprint(supernet).measure(widths)["macs"] == count_macs(subnet, x)
