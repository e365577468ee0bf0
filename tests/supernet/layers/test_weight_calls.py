"""Layers whose weight is computed, borrowed or fixed are narrowed, and exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from supernet.exactness import assert_exact
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import conv2d as convolve
from torch.nn.utils import parametrizations
from torch.nn.utils import parametrize

from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units


PICTURE = torch.randn(2, 3, 9, 9)
ROWS = torch.randn(4, 6)


def normalise_by_hook(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(layer)


class ByHand(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / self.weight.std((1, 2, 3), keepdim=True).add(1e-5)
        return self._conv_forward(x, weight, self.bias)


class AtOnce(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        weight = (self.weight - mean) * torch.rsqrt(var + 1e-5)
        return F.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class InRows(nn.Conv2d):
    """Flattens each output's weight, with sizes of the weight itself."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.view(self.weight.size(0), -1)
        deviation = rows.std(dim=1).view(-1, 1, 1, 1) + 1e-5
        weight = (self.weight - rows.mean(1).view(-1, 1, 1, 1)) / deviation.expand_as(self.weight)
        return F.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class AsBatchNorm(nn.Conv2d):
    """As a batch norm of one sample, whose channels are the outputs; with a gain for each."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, **options: int) -> None:
        super().__init__(n_inputs, n_outputs, kernel, **options)
        self.gain = nn.Parameter(1 + torch.rand(n_outputs, 1, 1, 1))
        self.fan_in = self.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * self.fan_in).view(-1),
            training=True,
            momentum=0.0,
        ).reshape_as(self.weight)
        return F.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Symmetric(nn.Module):
    """A parametrization of one's own: a kernel that is its mirror image."""

    def forward(self, weight: Tensor) -> Tensor:
        return (weight + weight.transpose(2, 3)) / 2


class Mirrored(nn.Conv2d):
    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        parametrize.register_parametrization(self, "weight", Symmetric())


def weight_norm(*sizes: int, **options: int) -> nn.Module:
    return parametrizations.weight_norm(nn.Conv2d(*sizes, **options))


def weight_norm_by_hook(*sizes: int, **options: int) -> nn.Module:
    return normalise_by_hook(nn.Conv2d(*sizes, **options))


def twice(*sizes: int, **options: int) -> nn.Module:
    layer = parametrizations.weight_norm(nn.Conv2d(*sizes, **options))
    return parametrizations.weight_norm(layer, "bias", dim=None)


KINDS: dict[str, Callable[..., nn.Module]] = {
    "standardised by hand": ByHand,
    "standardised at once": AtOnce,
    "standardised in rows": InRows,
    "standardised by a batch norm": AsBatchNorm,
    "weight norm": weight_norm,
    "weight norm by a hook": weight_norm_by_hook,
    "weight norm of all": twice,
    "a parametrization of one's own": Mirrored,
}


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_of_computed_weights_are_narrowed(kind: str) -> None:
    """Dense, grouped and depthwise ones, and a norm between them."""
    torch.manual_seed(0)
    make = KINDS[kind]
    model = nn.Sequential(
        make(3, 8, 3),
        nn.ReLU(),
        make(8, 12, 3, groups=4, padding=1),
        nn.BatchNorm2d(12),
        make(12, 12, 3, groups=12),
        nn.ReLU(),
        make(12, 10, 3, stride=2, padding=1),
        nn.Conv2d(10, 4, 1),
    )
    supernet = build_supernet(model.eval(), PICTURE)

    assert [group.name for group in supernet.groups] == ["0", "6"]
    assert supernet.groups[0].full_width == 4  # whole groups of the grouped one
    assert [item.name for item in supernet.grouping.frozen] == ["7"], supernet.grouping.frozen
    assert_exact(supernet, PICTURE, widths=sample_widths(supernet, 8))


@pytest.mark.parametrize("change", [parametrizations.weight_norm, normalise_by_hook])
def test_other_layers_have_computed_weights_too(change: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        change(nn.ConvTranspose1d(4, 8, 4, 2, 1)),
        nn.LeakyReLU(0.1),
        change(nn.ConvTranspose1d(8, 8, 3, groups=8)),
        change(nn.Conv1d(8, 6, 3, padding=1, padding_mode="reflect")),
        nn.Flatten(),
        change(nn.Linear(6 * 18, 7)),
        nn.ReLU(),
        change(nn.Linear(7, 3)),
    )
    x = torch.randn(2, 4, 8)
    supernet = build_supernet(model.eval(), x)

    assert [group.name for group in supernet.groups] == ["0", "3", "5"]
    assert_exact(supernet, x, widths=sample_widths(supernet, 8))
    layer = extract_subnet(supernet, supernet.space.smallest)[5]
    assert layer.weight.shape == (layer.out_features, layer.in_features) == (1, 18)


class LowRank(nn.Module):
    """A layer that is never called, and a sum of low rank on its weight."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(n_inputs, n_outputs)
        self.a = nn.Parameter(torch.randn(2, n_inputs))
        self.b = nn.Parameter(torch.randn(n_outputs, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.b @ self.a / 2, self.base.bias)


class Tied(nn.Module):
    """Goes back by the matrix that it came by, and further by another that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.matrix = nn.Parameter(torch.randn(10, 12))
        self.shift = nn.Parameter(torch.randn(10))
        self.twice = nn.Parameter(torch.randn(12, 12))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.relu(F.linear(self.first(x), self.matrix, self.shift))
        back = torch.tanh(F.linear(inside, self.matrix.t()))
        return self.head(F.linear(torch.relu(F.linear(back, self.twice)), self.twice.T))


def test_a_sum_of_low_rank_is_narrowed_with_the_weight() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        LowRank(6, 12), nn.ReLU(), LowRank(12, 8), nn.LayerNorm(8), LowRank(8, 3)
    )
    one = ROWS[:1]  # its product of low rank costs the same for any number of samples
    supernet = build_supernet(model, ROWS)

    assert [group.name for group in supernet.groups] == ["0.base", "2.base"]
    assert_exact(supernet, one, widths=sample_widths(supernet, 8))


def test_a_matrix_that_is_used_twice_is_one() -> None:
    torch.manual_seed(0)
    supernet = build_supernet(Tied(), ROWS)

    assert [group.name for group in supernet.groups] == ["first", "matrix", "twice"]
    assert_exact(supernet, ROWS, widths=sample_widths(supernet, 8))


def test_matrices_of_the_models_own_make_units() -> None:
    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = {"up": (6, 12), "across": (8, 12), "down": (8, 3), "shift": (12,)}
            for name, size in sizes.items():
                self.register_parameter(name, nn.Parameter(torch.randn(size)))

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.relu(x @ self.up + self.shift)
            return torch.relu(torch.einsum("ni,oi->no", hidden, self.across)) @ self.down

    torch.manual_seed(0)
    supernet = build_supernet(Perceptron(), ROWS)

    assert [group.name for group in supernet.groups] == ["up", "across"]
    assert_exact(supernet, ROWS, widths=sample_widths(supernet, 8))


def test_what_depends_on_the_whole_weight_is_left_whole_with_one_line() -> None:
    layers = [parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 6, 3)]
    supernet = build_supernet(nn.Sequential(*layers, nn.Conv2d(6, 4, 1)).eval(), PICTURE)

    (reason,) = next(item.reasons for item in supernet.grouping.frozen if item.name == "0")
    assert reason == (
        "its weight is computed by a parametrization (SpectralNorm), "
        "which keeps buffers of the whole weight"
    )
    assert [group.name for group in supernet.groups] == ["2"]


class Blur(nn.Module):
    """Smooths each channel by one filter; how it comes to one for each channel is what differs."""

    def __init__(self, how: str, n_channels: int) -> None:
        super().__init__()
        self.how = how
        self.n_channels = n_channels
        kernel = torch.rand(1, 1, 3, 3)
        held = torch.rand(n_channels, 1, 3, 3) if how == "one for each" else kernel
        self.register_buffer("filt", held, persistent=how != "one for each")

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "one for each":
            return F.conv2d(x, self.filt, stride=2, groups=self.n_channels)
        n = self.n_channels if self.how == "an attribute" else x.shape[1]
        weight = self.filt.repeat(n, 1, 1, 1) if self.how == "repeated" else self.filt
        weight = weight if self.how == "repeated" else weight.expand(n, -1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=2, groups=n)


class Depthwise(nn.Module):
    """Calls the function with as many groups as there are channels."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2 * n_channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv2d(x, self.weight, groups=x.size(1))


@pytest.mark.parametrize("how", ["expanded", "repeated", "an attribute", "one for each"])
def test_a_fixed_filter_runs_over_whatever_channels_there_are(how: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        Blur(how, 8),
        nn.Conv2d(8, 6, 1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )
    supernet = build_supernet(model.eval(), PICTURE)

    assert [group.name for group in supernet.groups] == ["0", "3"]
    assert_exact(supernet, PICTURE, widths=sample_widths(supernet, 8))
    if how == "one for each":
        assert extract_subnet(supernet, supernet.space.smallest)[2].filt.shape == (1, 1, 3, 3)


def test_a_filter_that_is_read_otherwise_too_is_left_whole() -> None:
    class Summed(Blur):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.filt.sum()

    model = nn.Sequential(nn.Conv2d(3, 8, 1), Summed("one for each", 8), nn.Conv2d(8, 6, 1))
    supernet = build_supernet(nn.Sequential(*model, nn.Conv2d(6, 4, 1)), PICTURE)

    assert [group.name for group in supernet.groups] == ["2"]
    assert_exact(supernet, PICTURE, widths=sample_widths(supernet, 4))


def test_a_depthwise_call_has_as_many_groups_as_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Depthwise(8), nn.ReLU(), nn.Conv2d(16, 4, 1))
    supernet = build_supernet(model, PICTURE)

    assert [group.name for group in supernet.groups] == ["0"]
    assert_exact(supernet, PICTURE, widths=sample_widths(supernet, 8))


def test_filters_move_with_their_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Blur("one for each", 8), nn.Conv2d(8, 4, 1))
    supernet = build_supernet(model, PICTURE)
    before, filters = supernet(PICTURE), supernet.net[1].filt.clone()

    reordering = reorder_units(supernet, [np.arange(8.0)])

    assert not reordering.left
    torch.testing.assert_close(supernet(PICTURE), before)
    torch.testing.assert_close(supernet.net[1].filt, filters.flip(0))


def test_a_weight_that_a_layer_shares_is_left_whole() -> None:
    """What the code reads is cut by itself, and the layer cuts what it was given."""
    model = nn.Sequential(nn.Linear(6, 12), LowRank(12, 12), nn.Linear(12, 12), nn.Linear(12, 3))
    model[2].weight = model[1].base.weight
    supernet = build_supernet(nn.Sequential(*model, nn.Linear(3, 8), nn.Linear(8, 2)), ROWS)

    assert [group.name for group in supernet.groups] == ["3", "4"]
    told = next(item for item in supernet.grouping.frozen if "1.base.weight" in item.members)
    assert any("is shared with" in reason for reason in told.reasons)
    assert_exact(supernet, ROWS[:1], widths=sample_widths(supernet, 4))


def test_two_axes_of_one_matrix_are_groups_of_their_own_names() -> None:
    class States(nn.Module):
        """A layer's channels times states, as of a state space model: the matrix has both."""

        def __init__(self) -> None:
            super().__init__()
            self.n_states = 4
            self.inner = nn.Linear(6, 8)
            self.codes = nn.Linear(6, 4)
            self.matrix = nn.Parameter(torch.randn(8, 4))
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            matrix = self.matrix.exp()  # read first, it gives both groups their name
            states = self.inner(x)[..., None] * matrix
            read = states @ self.codes(x)[..., None]
            return self.head(read.squeeze(-1))

    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    supernet = build_supernet(States(), x)

    names = supernet.space.names
    assert names == ("matrix", "matrix[1]")
    assert_exact(supernet, x)


def test_a_convolution_under_a_name_of_its_own_is_no_decision() -> None:
    class Blur(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
            self.register_buffer("filter", torch.ones(1, 1, 3, 3) / 9)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            filters = self.filter.expand(x.shape[1], 1, 3, 3)
            return self.b(convolve(x, filters, groups=x.shape[1])).mean((2, 3))

    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    supernet = build_supernet(nn.Sequential(Blur(), nn.Linear(6, 3)), x)

    assert set(supernet.space.names) == {"0.a", "0.b"}
    assert_exact(supernet, x)
