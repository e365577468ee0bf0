"""Layers of classes of the user's own: subclasses of PyTorch's, with and without a forward."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from strategies import scramble_norms
from supernet.exactness import assert_close
from supernet.exactness import assert_exact
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.evaluation import calibrate
from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.layers.linear import ElasticLinear
from dpod_search.supernet.layers.own_classes import own_elastic_type
from dpod_search.supernet.tracing.copying import copy_module


X = torch.linspace(-2, 2, 4 * 3 * 36).sin().reshape(4, 3, 6, 6)


class NormAct(nn.BatchNorm2d):
    """As timm's: the function with the module's own tensors, then an activation with weights."""

    def __init__(self, n: int, act: nn.Module | None = None, **options: Any) -> None:
        super().__init__(n, **options)
        self.act = nn.PReLU(n) if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        is_batch = self.training or self.running_mean is None
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        momentum = 0.1 if self.momentum is None else self.momentum
        return self.act(F.batch_norm(x, *tensors, is_batch, momentum, self.eps))


class ThenRelu(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Assigning(nn.BatchNorm2d):
    """Its statistics are new tensors in every step, and it counts with one."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked = self.num_batches_tracked + 1
            with torch.no_grad():
                self.running_mean = 0.5 * self.running_mean + 0.5 * x.mean((0, 2, 3))
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class Frozen(nn.BatchNorm2d):
    """Always in evaluation mode, and knows a number more."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.note = ["kept"]

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


class Same(nn.Conv2d):
    """Pads by itself."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.weight.shape[-2:]
        x = F.pad(x, (width // 2, width // 2, height // 2, height // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Super(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5


class Mine(nn.Conv2d):
    """A convolution like any other, with a name of its own and an attribute."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.note = ["kept"]

    def describe(self) -> str:
        return f"{self.in_channels} to {self.out_channels}"


class Affine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, bias=self.bias)


class MyLinear(nn.Linear):
    pass


class LayerNorm2d(nn.LayerNorm):
    """Over the last axis, whatever its name says."""


class MyInstanceNorm(nn.InstanceNorm2d):
    pass


class Net(nn.Module):
    """A stem, what is looked at, one more convolution and a head."""

    def __init__(self, extra: nn.Module, n_in: int, n_out: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.side = nn.Conv2d(3, n_in - 8, 1) if n_in > 8 else None
        self.extra = extra
        self.last = nn.Conv2d(n_out, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if self.side is not None:
            y = torch.cat([y, self.side(x)], 1)
        return self.head(F.gelu(self.last(self.extra(y))).mean((2, 3)))


class Moved(nn.Module):
    """Calls a layer with the channels last, twice if so told."""

    def __init__(self, layer: nn.Module, n_calls: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.n_calls = n_calls

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        for _ in range(self.n_calls):
            x = self.layer(x)
        return x.permute(0, 3, 1, 2)


def make(extra: nn.Module, *, n_in: int = 8, n_out: int | None = None) -> Supernet:
    torch.manual_seed(0)
    net = Net(extra, n_in, n_in if n_out is None else n_out)
    return build_supernet(scramble_norms(net).eval(), X)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "with-slopes": NormAct,
    "with-activation": lambda n: NormAct(n, nn.Sequential(nn.Dropout(0.2), nn.SiLU())),
    "with-slopes-inside": lambda n: NormAct(n, nn.Sequential(nn.PReLU(n), nn.PReLU())),
    "without-scale": lambda n: NormAct(n, nn.ReLU(), affine=False),
    "without-statistics": lambda n: NormAct(n, nn.ReLU(), track_running_stats=False),
    "super": ThenRelu,
    "assigning": Assigning,
    "in-evaluation-mode": Frozen,
    "instance": lambda n: MyInstanceNorm(n, affine=True, track_running_stats=True),
    "layer": lambda n: Moved(LayerNorm2d(n), 2),
}


@pytest.mark.parametrize("n_in", [8, 13])
@pytest.mark.parametrize("name", NORMS)
def test_norms_of_own_classes(name: str, n_in: int) -> None:
    supernet = make(NORMS[name](n_in), n_in=n_in)

    expected = {"stem", "last"} | ({"side"} if n_in > 8 else set())
    assert {group.name for group in supernet.groups} == expected
    assert_exact(supernet, X)


LAYERS: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "same-padding": (lambda: Same(8, 5, 3), 5, True),
    "same-padding-without-shift": (lambda: Same(8, 5, (3, 1), bias=False, stride=2), 5, True),
    "same-padding-depthwise": (lambda: Same(8, 8, 3, groups=8), 8, False),
    "same-padding-multiplier": (lambda: Same(8, 16, 3, groups=8), 16, False),
    "same-padding-grouped": (lambda: Same(8, 12, 3, groups=4), 12, False),
    "super": (lambda: Super(8, 5, 3, padding=1, padding_mode="reflect"), 5, True),
    "super-grouped": (lambda: Super(8, 8, 3, padding="same", groups=2), 8, False),
    "convolution": (lambda: Mine(8, 5, 3, groups=1), 5, True),
    "convolution-depthwise": (lambda: Mine(8, 8, 3, groups=8), 8, False),
    "linear": (lambda: Moved(Affine(8, 5)), 5, True),
    "linear-twice": (lambda: Moved(Affine(8, 8), 2), 8, False),
    "linear-subclass": (lambda: Moved(MyLinear(8, 5, bias=False)), 5, True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_own_classes(name: str) -> None:
    extra, n_out, makes = LAYERS[name]
    supernet = make(extra(), n_out=n_out)

    named = "extra.layer" if isinstance(supernet.net.extra, Moved) else "extra"
    assert {g.name for g in supernet.groups} == {"stem", "last"} | ({named} if makes else set())
    assert named in {plan.name for plan in supernet.grouping.layers}
    assert_exact(supernet, X)


def test_an_extracted_layer_is_of_its_own_class_and_knows_its_sizes() -> None:
    supernet = make(Mine(8, 5, 3), n_out=5)
    supernet.net.extra.note.append("more")
    subnet = extract_subnet(supernet, supernet.space.smallest)

    assert type(subnet.extra) is Mine
    assert subnet.extra.describe() == "1 to 1"
    assert subnet.extra.note == ["kept", "more"]
    assert subnet.extra.note is not supernet.net.extra.note


def test_an_extracted_norm_is_of_its_own_class_and_keeps_its_parts() -> None:
    supernet = make(NormAct(8))
    subnet = extract_subnet(supernet, supernet.space.smallest)

    assert type(subnet.extra) is NormAct
    assert subnet.extra.num_features == 1
    assert list(dict(subnet.extra.named_parameters())) == ["weight", "bias", "act.weight"]
    assert type(subnet.extra.act) is nn.PReLU
    assert supernet.net.extra.num_features == 8
    frozen = extract_subnet(make(Frozen(8)), supernet.space.smallest).train()
    assert not frozen.extra.training


@pytest.mark.parametrize("n_in", [8, 13])
@pytest.mark.parametrize("name", ["with-slopes", "super", "instance"])
def test_norms_of_own_classes_are_calibrated(name: str, n_in: int) -> None:
    supernet = make(NORMS[name](n_in), n_in=n_in)
    for widths in sample_widths(supernet, 6):
        subnet = extract_subnet(supernet, widths)
        calibrate(subnet, X)
        with supernet.active(widths), torch.no_grad():
            calibrate(supernet, X)
            assert_close(supernet(X), subnet(X))


def test_supernets_with_own_classes_are_copied_and_pickled() -> None:
    supernet = make(NormAct(8))
    widths = supernet.space.smallest
    file = io.BytesIO()
    torch.save(supernet, file)
    file.seek(0)
    with supernet.active(widths):
        expected = supernet(X)
    for other in (copy.deepcopy(supernet), torch.load(file, weights_only=False)):
        with other.active(widths):
            assert torch.equal(other(X), expected)


class Numbered(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, groups=8)


class Weighed(nn.BatchNorm2d):
    """Reads its own scale for something else, too."""

    def forward(self, x: Tensor) -> Tensor:
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *tensors) * self.weight.sum()


class Tracking(nn.BatchNorm2d):
    """Holds a number more for every channel, which the plan of a norm does not know."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.register_buffer("greatest", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *tensors)


class Borrowing(nn.Module):
    """Calls the function with the tensors of a norm that is called, too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(norm(x), norm.running_mean, norm.running_var, norm.weight, norm.bias)


class Changed(nn.Conv2d):
    """Its weight is another than it seems."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight.flip(0), bias)


FROZEN: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "numbered": (lambda: Numbered(8, 8, 1, groups=8), True),
    "weighed": (lambda: Weighed(8), True),
    "tracking": (lambda: Tracking(8), True),
    "borrowing": (Borrowing, True),
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_not_understood_is_frozen(name: str) -> None:
    extra, is_counted = FROZEN[name]
    supernet = make(extra())

    assert {group.name for group in supernet.groups} == {"last"}
    assert_exact(supernet, X, is_counted=is_counted)


def test_a_weight_that_the_code_changes_is_followed_as_far_as_it_goes() -> None:
    supernet = make(Changed(8, 8, 1))

    assert {group.name for group in supernet.groups} == {"stem", "last"}
    assert_exact(supernet, X)


def test_a_layer_inside_a_norm_counts_once() -> None:
    supernet = make(NormAct(8, nn.Conv2d(8, 8, 1)))
    footprint = build_footprint(supernet)
    for widths in sample_widths(supernet, 5):
        params = sum(p.numel() for p in extract_subnet(supernet, widths).parameters())
        assert footprint.measure(widths)["params"] == params
    assert "extra.act" in {group.name for group in supernet.groups}


class Renamed(nn.Linear):
    """Computes as its base does."""


def test_copies_of_own_classes_go_by_their_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not through ``copy.deepcopy``, which is slow, but for tensors."""
    elastic = own_elastic_type(ElasticLinear, Renamed, False)
    layer = elastic.__new__(elastic)
    nn.Linear.__init__(layer, 2, 3)
    taken: list[type] = []
    deepcopy = copy.deepcopy

    def note(value: object, memo: dict[int, Any]) -> object:
        taken.append(type(value))
        return deepcopy(value, memo)

    monkeypatch.setattr(copy, "deepcopy", note)
    copied = copy_module(layer)

    assert type(copied) is elastic
    assert torch.equal(copied.weight, layer.weight)
    assert copied.weight is not layer.weight
    assert set(taken) == {nn.Parameter}
