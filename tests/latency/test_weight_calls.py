"""Layers whose weight is computed stand in a table as what is cut out runs them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from latency.fakes import make_table
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import parametrize

from dpod_search.errors import DataError
from dpod_search.latency import fit_latency
from dpod_search.latency.backends.programs import write_program
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.specs import LayerSpec
from dpod_search.supernet import active_size
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


PICTURE = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


class ByHand(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / self.weight.std((1, 2, 3), keepdim=True).add(1e-5)
        return self._conv_forward(x, weight, self.bias)


class AtOnce(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        weight = (self.weight - mean) * torch.rsqrt(var + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class AsBatchNorm(nn.Conv2d):
    """As timm's, with a gain for each output."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, **options: int) -> None:
        super().__init__(n_inputs, n_outputs, kernel, **options)
        self.gain = nn.Parameter(1 + torch.rand(n_outputs, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * 0.3).view(-1),
            training=True,
            momentum=0.0,
        ).reshape_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return (weight + weight.transpose(2, 3)) / 2


class Mirrored(nn.Conv2d):
    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        parametrize.register_parametrization(self, "weight", Symmetric())


def weight_norm(*sizes: int, **options: int) -> nn.Module:
    return parametrizations.weight_norm(nn.Conv2d(*sizes, **options))


def weight_norm_by_hook(*sizes: int, **options: int) -> nn.Module:
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(nn.Conv2d(*sizes, **options))


KINDS: dict[str, Callable[..., nn.Module]] = {
    "standardised by hand": ByHand,
    "standardised at once": AtOnce,
    "standardised by a batch norm": AsBatchNorm,
    "weight norm": weight_norm,
    "weight norm by a hook": weight_norm_by_hook,
    "a parametrization of one's own": Mirrored,
}


def list_operators(module: nn.Module, x: Tensor) -> list[object]:
    """Return what copies or combines numbers, and the size of the weight."""
    program = write_program(module, x)
    views = ("reshape", "reshape_as", "view", "transpose", "expand", "expand_as", "getitem")
    names = [name.removeprefix("aten.").partition(".")[0] for name, *_ in program["calls"]]
    sizes = [t[0] for t in program["tensors"] if isinstance(t, list)]
    return [*sorted(name for name in names if name not in views), max(sizes, key=math.prod)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_timed_at_each_rung_is_what_is_cut_out(kind: str) -> None:
    torch.manual_seed(0)
    make = KINDS[kind]
    model = nn.Sequential(
        make(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        make(8, 12, 3, groups=4, padding=1),
        make(12, 12, 3, groups=12),
        make(12, 10, 3, stride=2, padding=1),
        nn.Conv2d(10, 4, 1),
    )
    supernet = build_supernet(model.eval(), PICTURE)
    plain, *computed = list_placed_layers(supernet)

    assert not plain.spec.weight
    assert [layer.spec.conv_group for layer in computed] == [(), (2, 3), (1, 1), ()]
    assert computed[0].spec.followers == ("norm", "relu")
    for ratio in (0.25, 0.5, 1.0):
        widths = supernet.space.uniform(ratio)
        parts = list(extract_subnet(supernet, widths).eval())
        x = PICTURE[:1]
        for part in parts:
            if part in (parts[0], *parts[3:6]):
                layer = computed.pop(0)
                computed.append(layer)
                sizes = (active_size(y, widths.active) for y in (layer.inputs, layer.output))
                spec = LayerSpec.from_json(layer.spec.to_json())
                built, given = spec.build(*sizes, batch_size=1)
                assert given.shape == x.shape
                assert list_operators(built[0], given) == list_operators(part, x)
                again = copy.deepcopy(built)
                torch.testing.assert_close(again(given), built(given))
            x = part(x).detach()


class Blurs(nn.Module):
    """A fixed filter, a matrix of the model's own, a filter made by the model, a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("blur", torch.ones(1, 1, 3, 3) / 9)
        self.up = parametrizations.weight_norm(nn.ConvTranspose2d(8, 6, 2, 2))
        self.matrix = nn.Parameter(torch.randn(10, 6))
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        n = x.shape[1]
        x = F.conv2d(x, self.blur.expand(n, 1, 3, 3), stride=2, padding=1, groups=n)
        x = self.up(x).mean((2, 3))
        return self.head(F.linear(x, self.matrix))


def test_filters_and_matrices_of_the_models_own_are_timed() -> None:
    supernet = build_supernet(Blurs().eval(), PICTURE)
    layers = list_placed_layers(supernet)
    assert [layer.spec.describe() for layer in layers] == [
        "conv 3x3 at 9x9",
        "linear at 1",
        "conv 3x3 at 9x9",
        "transposed 2x2 at 5x5 of a computed weight",
        "linear at 1",
    ]
    assert layers[2].spec.conv_group == (1, 1)
    assert layers[2].find_widths(supernet.space) == ((1,), tuple(range(1, 9)))
    assert [len(layer.groups) for layer in layers] == [1, 1, 1, 2, 2]
    for layer in layers:
        built, x = layer.spec.build(layer.spec.full[0], layer.spec.full[1], batch_size=2)
        assert len(built(x)) == 2


def test_all_subnets_have_a_latency() -> None:
    supernet = build_supernet(Blurs().eval(), PICTURE)
    latency = fit_latency(supernet, make_table(supernet), n_held_out=8)
    assert latency.error.mape < 0.02
    rng = np.random.default_rng(0)
    active = np.array([supernet.space.sample(rng).active for _ in range(100)])
    assert (latency.table(active) > 0.5).all()


def test_what_cannot_be_rebuilt_is_in_no_table() -> None:
    class Sums(nn.Conv2d):
        """A sum of low rank, which the widths of the weight do not tell."""

        def __init__(self) -> None:
            super().__init__(8, 6, 1)
            self.a, self.b = (nn.Parameter(torch.randn(*s)) for s in ((2, 8), (6, 2)))

        def forward(self, x: Tensor) -> Tensor:
            more = (self.b @ self.a)[:, :, None, None]
            return self._conv_forward(x, self.weight + more, self.bias)

    class Dynamic(nn.Module):
        """A weight that is made of the input."""

        def __init__(self) -> None:
            super().__init__()
            self.sums, self.head = Sums(), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.sums(x)
            blur = x.mean((0, 2, 3)).view(-1, 1, 1, 1)
            return self.head(F.conv2d(x, blur, groups=6))

    model = nn.Sequential(nn.Conv2d(3, 8, 3), Dynamic())
    supernet = build_supernet(model.eval(), PICTURE)
    assert [layer.name for layer in list_placed_layers(supernet)] == ["0", "1.head"]


CONV = {
    "kind": "conv",
    "size": [8],
    "kernel": [3],
    "stride": [1],
    "padding": [1],
    "dilation": [1],
}


@pytest.mark.parametrize("weight", ["mean", ["exec"], [3], ["rows mean"], ["rows rows add"]])
def test_what_computes_no_weight_is_one_clear_error(weight: object) -> None:
    assert LayerSpec.from_json({**CONV, "weight": ["mean", "sub"]}).weight == ("mean", "sub")
    with pytest.raises(DataError) as told:
        LayerSpec.from_json({**CONV, "weight": weight})
    assert "\n" not in str(told.value)
