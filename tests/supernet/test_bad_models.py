"""Models that cannot be followed: a frozen dimension or an error of one line, never a wrong net."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from supernet.exactness import assert_close
from supernet.exactness import assert_same_gradients
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import parametrize
from torch.nn.utils import prune

from dpod_search.errors import GroupingError
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*weight_norm.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning"
)
Middle = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A stem of eight channels, what a test says, one more convolution and a head."""

    def __init__(self, middle: Middle, extra: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.extra = nn.Identity() if extra is None else extra
        self.last = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 3)
        self.width = 8
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self, self.norm(self.stem(x)))
        return self.head(F.gelu(self.last(x)).flatten(2).mean(2))


def picture() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def assert_never_wrong(supernet: Supernet) -> None:
    """Supernet and extracted net are one in what they compute, in both modes, and in gradients."""
    x = picture()
    for widths in sample_widths(supernet):
        for trains in (True, False):
            supernet.train(trains)
            subnet = extract_subnet(supernet, widths)
            with torch.no_grad():
                torch.manual_seed(1)
                expected = subnet(x)
                torch.manual_seed(1)
                with supernet.active(widths):
                    assert_close(supernet(x), expected)


def try_gradients(supernet: Supernet) -> None:
    supernet.eval()
    for widths in sample_widths(supernet):
        assert_same_gradients(supernet, extract_subnet(supernet, widths), widths, picture())


def error_of(model: Any, *example: Any) -> str:
    with pytest.raises(GroupingError) as caught:
        build_supernet(model, example[0] if example else picture())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def while_large(net: Net, x: Tensor) -> Tensor:
    while x.abs().max() > 1:
        x = x / 2
    return x


UNTRACEABLE: dict[str, Middle] = {
    "if": lambda net, x: x if x.sum() > 0 else -x,
    "while": while_large,
    "float": lambda net, x: x * float(x.max()),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_cannot_be_traced_names_the_line(name: str) -> None:
    middle = UNTRACEABLE[name]
    lines, first = inspect.getsourcelines(middle)
    message = error_of(Net(middle))

    assert message.startswith("the model cannot be traced (at ")
    assert any(f"{__file__}:{first + i})" in message for i in range(len(lines)))


def zero_view(net: Net, x: Tensor) -> Tensor:
    z = x[:, :2]
    z.zero_()
    return x


def zero_rows(net: Net, x: Tensor) -> Tensor:
    z = x[:, :, :2]
    z.zero_()
    return x


def copy_part(net: Net, x: Tensor) -> Tensor:
    y = x.clone()
    y.narrow(1, 0, 2).copy_(x.narrow(1, 2, 2))
    return y


def copy_whole(net: Net, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y.copy_(x)
    return y


def edit_data(net: Net, x: Tensor) -> Tensor:
    x.data.mul_(2)
    return x


@dataclass(frozen=True)
class Case:
    """What freezes the stem, and a part of the reason."""

    middle: Middle
    reason: str
    has_gradients: bool = True


def over_channels(net: Net, x: Tensor, *shape: int) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), shape).permute(0, 3, 1, 2)


FREEZING: dict[str, Case] = {
    "view zeroed": Case(zero_view, "getitem"),
    "rows zeroed": Case(zero_rows, "zero_"),
    "part copied": Case(copy_part, "narrow"),
    "copy_": Case(copy_whole, "copy_"),
    "data": Case(edit_data, "'data'"),
    "index_fill_": Case(lambda net, x: x.index_fill_(1, torch.tensor([0, 3]), 0.0), "index_fill_"),
    "masked_fill_": Case(
        lambda net, x: x.masked_fill_((torch.arange(8) < 4).view(1, 8, 1, 1), 0.0), "masked_fill_"
    ),
    "scatter_": Case(
        lambda net, x: x.scatter_(1, torch.zeros(2, 1, 6, 6, dtype=torch.long), 0.0), "scatter_"
    ),
    "reshape": Case(lambda net, x: x.reshape(-1, 8, 36).reshape(-1, 8, 6, 6), "reshape"),
    "slice": Case(lambda net, x: torch.cat([x[:, :4], x[:, :4]], 1), "getitem"),
    "zeros": Case(lambda net, x: torch.zeros(1, 8, 1, 1) + x, "add"),
    "split": Case(lambda net, x: torch.cat(x.split(4, 1)[::-1], 1), "split"),
    "loop": Case(lambda net, x: torch.stack([x[:, i] for i in range(8)], 1), "getitem"),
    "layer_norm": Case(lambda net, x: over_channels(net, x, 8), "layer_norm"),
    "conv2d": Case(lambda net, x: F.conv2d(x, torch.ones(8, 8, 1, 1) / 8), "conv2d"),
    "flip": Case(lambda net, x: x.flip(1), "flip"),
    "sort": Case(lambda net, x: x.sort(1)[0], "sort"),
    "fft": Case(lambda net, x: torch.fft.fft(x, dim=1).abs(), "fft_fft"),
    "complex": Case(lambda net, x: torch.view_as_real(torch.complex(x, x))[..., 0], "complex"),
    "as_strided": Case(lambda net, x: x.as_strided((2, 8, 6, 6), (288, 36, 6, 1)), "as_strided"),
    "another's weight": Case(lambda net, x: x * net.stem.weight.mean(), "read outside its layer"),
    "out_channels": Case(lambda net, x: x / net.stem.out_channels, "running it narrower fails"),
    "num_features": Case(lambda net, x: x / net.norm.num_features, "running it narrower fails"),
    "in_channels": Case(lambda net, x: x / net.last.in_channels, "running it narrower fails"),
    "branch on a layer": Case(
        lambda net, x: x * 2 if net.stem.out_channels > 4 else x * 3, "running it narrower fails"
    ),
    "size while it trains": Case(
        lambda net, x: x.reshape(-1, 8, 6, 6) if net.training else x, "running it narrower fails"
    ),
    "layer while it trains": Case(
        lambda net, x: x / net.stem.out_channels if net.training else x,
        "running it narrower fails",
    ),
}  # fmt: skip  (a table)


def reasons_of(supernet: Supernet, name: str) -> str:
    return "; ".join(
        reason for item in supernet.grouping.frozen if item.name == name for reason in item.reasons
    )


@pytest.mark.parametrize("name", FREEZING)
def test_what_is_not_understood_freezes(name: str) -> None:
    case = FREEZING[name]
    torch.manual_seed(0)
    supernet = build_supernet(Net(case.middle), picture())

    assert [group.name for group in supernet.groups] == ["last"]
    reasons = reasons_of(supernet, "stem")
    assert case.reason in reasons
    assert "fails" in reasons or f"{__file__}:" in reasons
    assert_never_wrong(supernet)
    if case.has_gradients:
        try_gradients(supernet)


HARMLESS: dict[str, Middle] = {
    "an attribute as a number": lambda net, x: x / net.width,
    "an attribute as both": lambda net, x: (x.reshape(2, net.width, -1) / net.width).reshape(
        2, net.width, 6, 6
    ),
    "the greatest value as a number": lambda net, x: x * x.max().item(),
    "a shape as a number": lambda net, x: x / x.shape[1],
    "a branch on an attribute": lambda net, x: x * 2 if net.width > 4 else x * 3,
    "dropout": lambda net, x: F.dropout(x, 0.5, net.training),
    "dropout at all times": lambda net, x: F.dropout(x, 0.5),
    "a random number": lambda net, x: x + torch.rand(1),
    "noise while it trains": lambda net, x: x + torch.randn_like(x) if net.training else x,
    "in place": lambda net, x: x.view(x.shape).add_(1),
    "detached": lambda net, x: x.detach() + x,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_follows_the_widths_does_not(name: str) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(Net(HARMLESS[name]), picture())

    assert [group.name for group in supernet.groups] == ["stem", "last"]
    assert_never_wrong(supernet)


class Keep(nn.Module):
    """Keeps what it has seen."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x


class Count(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * (1 + self.n / 10)


class CountInPython(nn.Module):
    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * (1 + self.n / 10)


class Mask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.arange(8) % 2).float().view(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class Average(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        return x


class Choose(nn.Module):
    """Has a layer for training and another for evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if self.training else self.other(x)


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class OwnConv(nn.Conv2d):
    """A convolution with its own name."""


class Standardized(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias)


class Twice(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def conv() -> nn.Conv2d:
    return nn.Conv2d(8, 8, 1)


def hooked(how: str) -> nn.Module:
    layer = conv()
    hooks: dict[str, Callable[[], object]] = {
        "forward": lambda: layer.register_forward_hook(lambda m, i, o: o * m.out_channels),
        "before": lambda: layer.register_forward_pre_hook(lambda m, i: (i[0] * 2,)),
        "backward": lambda: layer.register_full_backward_hook(lambda m, i, o: (i[0] * 2,)),
        "before backward": lambda: layer.register_full_backward_pre_hook(lambda m, o: (o[0] * 2,)),
    }
    hooks[how]()
    return layer


def parametrized() -> nn.Module:
    layer = conv()
    parametrize.register_parametrization(layer, "weight", Twice())
    return layer


def tied() -> nn.Module:
    one, other = conv(), conv()
    other.weight = one.weight
    return nn.Sequential(one, nn.ReLU(), other)


def shared() -> nn.Module:
    scale = Scale()
    return nn.Sequential(scale, conv(), scale)


def pruned() -> nn.Module:
    return prune.l1_unstructured(conv(), "weight", 0.5)


MODULES: dict[str, tuple[Callable[[], nn.Module], bool]] = {  # whether the stem stays elastic
    "keeps a result": (Keep, True),
    "counts": (Count, True),
    "counts in Python": (CountInPython, True),
    "mask": (Mask, False),
    "running mean": (Average, False),
    "two modes": (Choose, False),
    "scale": (Scale, True),
    "one scale twice": (shared, True),
    "tied weights": (tied, False),
    "own convolution": (lambda: OwnConv(8, 8, 1), True),
    "standardized": (lambda: Standardized(8, 8, 1), True),
    "forward hook": (lambda: hooked("forward"), False),
    "forward pre-hook": (lambda: hooked("before"), False),
    "backward hook": (lambda: hooked("backward"), False),
    "backward pre-hook": (lambda: hooked("before backward"), False),
    "parametrized": (parametrized, True),
    "weight_norm": (lambda: parametrizations.weight_norm(conv()), True),
    "old weight_norm": (lambda: nn.utils.weight_norm(conv()), True),
    "spectral_norm": (lambda: parametrizations.spectral_norm(conv()), False),
    "old spectral_norm": (lambda: nn.utils.spectral_norm(conv()), False),
    "orthogonal": (lambda: parametrizations.orthogonal(conv()), False),
    "pruned": (pruned, False),
    "data parallel": (lambda: nn.DataParallel(conv()), False),
    "unflatten": (lambda: nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Flatten(1, 2)), False),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_all_kinds(name: str) -> None:
    make, is_elastic = MODULES[name]
    torch.manual_seed(0)
    model = Net(lambda net, x: net.extra(x), make())
    supernet = build_supernet(model, picture())

    assert ("stem" in [group.name for group in supernet.groups]) == is_elastic
    assert "last" in [group.name for group in supernet.groups]
    assert_never_wrong(supernet)
    if "counts" not in name:  # a run of one of the twins makes it another net
        try_gradients(supernet)
        subnet = extract_subnet(supernet, supernet.space.smallest)
        assert copy.deepcopy(subnet.eval())(picture()).shape == (2, 3)


def hold(layer: nn.Module) -> Any:
    return lambda net, x: layer(x)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "lazy": (lambda: Net(lambda net, x: x, nn.LazyConv2d(8, 1)), "lazy layers"),
    "compiled part": (
        lambda: Net(lambda net, x: net.extra(x), torch.compile(conv(), backend="eager")),
        "extra is compiled by torch.compile",
    ),
    "hidden layer": (lambda: Net(hold(conv())), "not installed as a submodule"),
    "scripted": (
        lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())),
        "the model is compiled by TorchScript",
    ),
    "scripted part": (lambda: Net(hold(conv()), torch.jit.script(conv())), "extra is compiled"),
    "traced part": (
        lambda: Net(hold(conv()), torch.jit.trace(conv(), torch.randn(1, 8, 6, 6))),
        "extra is compiled",
    ),
    "meta": (lambda: Net(lambda net, x: x, nn.Linear(2, 2, device="meta")), "extra.weight is on"),
    "nothing to narrow": (nn.ReLU, "it has no layers"),
    "one layer": (lambda: nn.Conv2d(3, 4, 1), "no channel group"),
    "a head alone": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1)), "output of the model fixes it"),
    "a function": (lambda: torch.relu, "must be an instance of torch.nn.Module"),
    "a class": (lambda: Scale, "got Scale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    make, part = REFUSED[name]

    assert part in error_of(make())


class Returns(nn.Module):
    def __init__(self, finish: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.finish = finish

    def forward(self, x: Tensor) -> Any:
        return self.finish(self.second(self.first(x).relu()).mean((2, 3)))


@pytest.mark.parametrize(
    ("finish", "got"),
    [
        (lambda y: None, "NoneType"),
        (lambda y: "seven", "str"),
        (lambda y: (), "tuple"),
        (lambda y: y.sum().item(), "float"),
    ],
)
def test_a_model_must_return_tensors(finish: Callable[[Tensor], Any], got: str) -> None:
    assert error_of(Returns(finish)) == f"the model must return tensors, got a {got}"


@pytest.mark.parametrize(
    "finish", [lambda y: (y, y * 2), lambda y: {"a": y, "b": [y + 1]}, lambda y: y.sum()]
)
def test_outputs_of_any_structure(finish: Callable[[Tensor], Any]) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(Returns(finish), picture())
    for widths in sample_widths(supernet):
        with supernet.active(widths):
            got = supernet(picture())
        expected = extract_subnet(supernet, widths)(picture())
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 1), nn.Conv2d(2, 8, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head((self.one(x) + self.other(y)).relu())


def test_several_inputs() -> None:
    torch.manual_seed(0)
    x, y = picture(), picture()[:, :2]
    supernet = build_supernet(Sum(), (x, y))

    assert [group.members for group in supernet.groups] == [("one", "other", "head")]
    for widths in sample_widths(supernet):
        with supernet.active(widths):
            assert_close(supernet(x, y), extract_subnet(supernet, widths)(x, y))
    assert "does not run on an example input of shape (2, 3, 6, 6)" in error_of(Sum(), x)


@pytest.mark.parametrize(
    ("example", "part"),
    [
        (torch.randn(2, 3), "of shape (2, 3)"),
        (torch.randn(2, 4, 6, 6), "of shape (2, 4, 6, 6)"),
        (torch.randn(3, 6, 6), "of shape (3, 6, 6)"),
        (torch.randn(0, 3, 6, 6), "got (0, 3, 6, 6)"),
        (torch.tensor(1.0), "got ()"),
        (torch.ones(2, 3, 6, 6, dtype=torch.long), "should be the same"),
        (torch.randn(2, 3, 6, 6, dtype=torch.float64), "should be the same"),
        (torch.randn(2, 3, 6, 6, device="meta"), "on device 'meta'"),
        (3, "got int"),
        (None, "got NoneType"),
        ("picture", "got str"),
        ({"x": 3}, "got dict"),
        (np.zeros((2, 3, 6, 6)), "got ndarray"),
        ((), "got tuple"),
        ([1, 2], "got int"),
    ],
)
def test_example_inputs_of_the_wrong_kind(example: Any, part: str) -> None:
    assert part in error_of(Returns(lambda y: y), example)


def test_complex_numbers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(*n, dtype=torch.complex64) for n in ((3, 8), (8, 2))))
    x = torch.randn(4, 3, dtype=torch.complex64)
    supernet = build_supernet(model, x)
    for widths in sample_widths(supernet):
        with supernet.active(widths):
            got = supernet(x)
        torch.testing.assert_close(got, extract_subnet(supernet, widths)(x))


def test_a_build_leaves_the_model_as_it_was() -> None:
    for make in (Count, CountInPython, Average, Keep):
        model = Net(lambda net, x: net.extra(x), make())
        before = copy.deepcopy(model.state_dict())
        supernet = build_supernet(model, picture())
        for name, tensor in before.items():
            torch.testing.assert_close(model.state_dict()[name], tensor)
            torch.testing.assert_close(supernet.net.state_dict()[name], tensor)
        assert getattr(supernet.net.extra, "n", 0) == 0
        assert model.training
        assert not hasattr(model.extra, "seen")
