"""Norms that a model calls as functions, with scales and shifts that it holds itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from strategies import scramble_norms
from supernet.exactness import assert_exact
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


X = torch.linspace(-2, 2, 2 * 3 * 36).sin().reshape(2, 3, 6, 6)


class Pictures(nn.Module):
    """A norm between two convolutions, on pictures or with channels last."""

    def __init__(self, norm: nn.Module, *, n_channels: int = 8, is_last: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.side = nn.Conv2d(3, n_channels - 8, 1) if n_channels > 8 else None
        self.norm = norm
        self.last = nn.Conv2d(n_channels, 6, 1)
        self.head = nn.Linear(6, 3)
        self.is_last = is_last

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if self.side is not None:
            y = torch.cat([y, self.side(x)], 1)
        y = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.is_last else self.norm(y)
        return self.head(F.gelu(self.last(y)).mean((2, 3)))


class Last(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps))


class Precise(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.double(), self.bias.double()
        return F.layer_norm(x.double(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class First(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return super().forward(x).permute(0, 3, 1, 2)


class Free(nn.Module):
    """A scale and a shift of its own, and a norm that ``run`` calls."""

    def __init__(self, run: Callable[[Free, Tensor], Tensor], n: int = 8) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, n))
        self.shift = nn.Parameter(torch.linspace(-1, 1, n))
        self.n = n
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class Grouped(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps).relu()


class Counting(nn.Module):
    """No norm of PyTorch's, and tells how many groups there are."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_groups = n // 2
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, n))

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.n_groups, self.scale)


class Rms(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps).tanh()


def build(model: nn.Module) -> Supernet:
    torch.manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            for parameter in norm.parameters(recurse=False):
                nn.init.uniform_(parameter, 0.2, 1)
    return build_supernet(scramble_norms(model).eval(), X)


LAST: dict[str, Callable[[int], nn.Module]] = {
    "subclass": Last,
    "subclass-without-shift": lambda n: Last(n, bias=False),
    "in-other-precision": Precise,
    "subclass-rms": Rms,
    "attribute": lambda n: Free(lambda m, x: F.layer_norm(x, (m.n,), m.scale, m.shift), n),
    "shape-of-input": lambda n: Free(
        lambda m, x: F.layer_norm(x, x.shape[-1:], m.scale, m.shift), n
    ),
    "shape-of-scale": lambda n: Free(
        lambda m, x: F.layer_norm(x, m.scale.shape, weight=m.scale, bias=m.shift), n
    ),
    "size-of-input": lambda n: Free(lambda m, x: F.layer_norm(x, [x.size(-1)]) * m.scale, n),
    "torch": lambda n: Free(lambda m, x: torch.layer_norm(x, (m.n,), m.scale, m.shift), n),
    "rms": lambda n: Free(lambda m, x: F.rms_norm(x, (m.n,), m.scale) + m.shift, n),
    "twice": lambda n: Free(
        lambda m, x: F.layer_norm(F.layer_norm(x, (m.n,), m.scale), (m.n,), m.scale, m.shift), n
    ),
}
GROUPED: dict[str, Callable[[int], nn.Module]] = {
    "subclass": lambda n: Grouped(n // 2, n),
    "subclass-of-one-group": lambda n: Grouped(1, n),
    "subclass-of-single-channels": lambda n: Grouped(n, n),
    "one-group": lambda n: Free(lambda m, x: F.group_norm(x, 1, m.scale, m.shift), n),
    "attribute": Counting,
    "first": First,
}


@pytest.mark.parametrize("n_channels", [8, 14])
@pytest.mark.parametrize("name", LAST)
def test_norms_over_the_last_axis(name: str, n_channels: int) -> None:
    if n_channels > 8 and name in ("in-other-precision", "size-of-input", "rms", "twice"):
        pytest.skip("its vectors meet a concat behind another operation, which freezes both")
    supernet = build(Pictures(LAST[name](n_channels), n_channels=n_channels, is_last=True))

    expected = {"stem", "last"} | ({"side"} if n_channels > 8 else set())
    assert {group.name for group in supernet.groups} == expected
    assert_exact(supernet, X)


@pytest.mark.parametrize("n_channels", [8, 14])
@pytest.mark.parametrize("name", GROUPED)
def test_norms_by_groups(name: str, n_channels: int) -> None:
    supernet = build(Pictures(GROUPED[name](n_channels), n_channels=n_channels))

    expected = {"stem", "last"} | ({"side"} if n_channels > 8 else set())
    assert {group.name for group in supernet.groups} == expected
    unit = 2 if name in ("subclass", "attribute") else 1
    assert supernet.groups[0].unit == unit
    assert_exact(supernet, X)


FROZEN: dict[str, tuple[nn.Module, bool, str]] = {
    "number": (
        Free(lambda m, x: F.layer_norm(x, (8,), m.scale, m.shift)),
        True,
        "a number of channels that is written",
    ),
    "number-of-groups": (
        Free(lambda m, x: F.group_norm(x, 4, m.scale)),
        False,
        "a number of groups written",
    ),
    "groups-computed": (
        Free(lambda m, x: F.group_norm(x, m.n // 2, m.scale)),
        False,
        "a number of groups written",
    ),
    "groups-of-input": (
        Free(lambda m, x: F.group_norm(x, x.shape[1] // 2, m.scale)),
        False,
        "a number that is computed",
    ),
    "several-axes": (
        Free(lambda m, x: F.layer_norm(x, x.shape[1:]) * m.scale.view(-1, 1, 1)),
        False,
        "several axes",
    ),
    "read-elsewhere": (
        Free(lambda m, x: F.layer_norm(x, (m.n,), m.scale) * m.scale.sort()[0]),
        True,
        "puts it in an order",
    ),
    "statistics-of-nobody": (
        Free(lambda m, x: F.batch_norm(x, m.shift.detach(), m.scale.detach())),
        False,
        "not those of one layer alone",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_not_understood_is_frozen(name: str) -> None:
    norm, is_last, word = FROZEN[name]
    supernet = build(Pictures(norm, is_last=is_last))

    frozen = {item.name: "; ".join(item.reasons) for item in supernet.grouping.frozen}
    assert word in frozen["stem"]
    assert "last" in {group.name for group in supernet.groups}
    assert_exact(supernet, X)


def test_an_extracted_norm_says_its_sizes() -> None:
    last = build(Pictures(Last(8), is_last=True))
    assert extract_subnet(last, last.space.smallest).norm.normalized_shape == (1,)
    grouped = build(Pictures(Grouped(4, 8)))
    norm = extract_subnet(grouped, grouped.space.smallest).norm
    assert (norm.num_groups, norm.num_channels) == (1, 2)
