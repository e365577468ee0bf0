"""Reordered units: the full net is the same, and prefixes hold the best of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from strategies import Net
from strategies import graphs
from strategies import nets
from strategies import scramble_norms
from supernet import attentions
from supernet.layers.test_more_layers import LAYERS
from supernet.layers.test_more_layers import make as make_layers
from supernet.layers.test_more_layers import sample_widths
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.models.resnet import build_resnet20
from dpod_search.models.torchvision_nets import build_torchvision_net
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import carry
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import plan_weights
from dpod_search.supernet import reorder_units
from dpod_search.supernet.layout import take


def draw_scores(supernet, seed=0):
    rng = np.random.default_rng(seed)
    return [
        None if group.kind == "block" else rng.exponential(size=group.full_width)
        for group in supernet.groups
    ]


def make(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "resnet20":
            net = build_resnet20(input_shape=(3, 32, 32), n_classes=7)
        else:
            net = build_torchvision_net(name, n_classes=7, arguments={})
        for parameter in net.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        net = scramble_norms(net).eval()
        return net, torch.randn(2, 3, 32, 32)


def assert_reordered(supernet, x, *, n_left=0):
    with torch.no_grad():
        before = supernet(x)
        found = reorder_units(supernet, draw_scores(supernet))
        after = supernet(x)
    scale = float(before.abs().max())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4 * scale + 1e-9)
    assert len(found.left) == n_left, found.left
    return found


@pytest.mark.parametrize(
    ("name", "n_left"),
    [
        ("resnet20", 0),
        ("resnet18", 0),
        ("mobilenet_v2", 0),
        ("mobilenet_v3_small", 0),
        ("densenet121", 0),
        ("resnext50_32x4d", 0),
        ("convnext_tiny", 0),
        # What both branches of a downsampling unit make is shuffled and cut in the middle.
        ("shufflenet_v2_x0_5", 3),
        ("swin_t", 0),
    ],
)
def test_published_nets_compute_the_same(name, n_left):
    net, x = make(name)
    supernet = build_supernet(net, x)
    found = assert_reordered(supernet, x, n_left=n_left)
    for group, order in zip(supernet.groups, found.orders, strict=True):
        assert (order is None) == (group.kind == "block" or group.name in found.left)
        if order is not None and group.full_width >= 16:
            assert np.any(order != np.arange(group.full_width))
    # Narrow subnets are still what is extracted.
    widths = supernet.space.sample(np.random.default_rng(0))
    with supernet.active(widths), torch.no_grad():
        torch.testing.assert_close(
            supernet(x), extract_subnet(supernet, widths)(x), rtol=1e-3, atol=1e-4
        )


@settings(max_examples=20, deadline=None)
@given(nets())
def test_nets_of_any_shape_compute_the_same(net: Net):
    assert_reordered(build_supernet(net.model.eval(), net.example), net.example)


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_graphs_of_any_shape_compute_the_same(net: Net):
    try:
        supernet = build_supernet(net.model, net.example)
    except ValueError:
        return  # nothing to narrow
    assert_reordered(supernet, net.example)


def make_chain():
    torch.manual_seed(0)
    return scramble_norms(
        nn.Sequential(
            nn.Conv2d(2, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
    ).eval()


def test_a_prefix_holds_the_units_of_the_largest_scores():
    net, x = make_chain(), torch.randn(4, 2, 6, 6)
    supernet = build_supernet(net, x, ratios=(0.5,))
    found = reorder_units(supernet, [np.array([0.1, 0.9, 0.3, 0.8, 0.2, 0.7])])
    best = [1, 3, 5]
    assert found.orders[0].tolist() == [*best, 2, 4, 0]
    subnet = extract_subnet(supernet, supernet.space.smallest)
    assert torch.equal(subnet[0].weight, net[0].weight[best])
    assert torch.equal(subnet[1].running_var, net[1].running_var[best])
    # The same as the full net without the others.
    with torch.no_grad():
        net[1].weight[[0, 2, 4]] = 0
        net[1].bias[[0, 2, 4]] = 0
        torch.testing.assert_close(subnet(x), net(x))


def test_units_of_equal_score_keep_their_order():
    supernet = build_supernet(make_chain(), torch.randn(2, 2, 6, 6))
    before = copy.deepcopy(supernet.state_dict())
    found = reorder_units(supernet, [np.ones(6)])
    assert found.orders[0].tolist() == list(range(6))
    assert all(torch.equal(before[k], v) for k, v in supernet.state_dict().items())


def test_groups_without_scores_stay():
    net, x = make("resnet20")
    supernet = build_supernet(net, x)
    scores = draw_scores(supernet)
    scores[0] = None
    found = reorder_units(supernet, scores)
    assert found.orders[0] is None
    assert not found.left
    assert torch.equal(supernet.net.conv.weight, net.conv.weight)


class Numbered(nn.Module):
    """Multiplies each channel by its number: narrow as ever, but not in another order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None, None]


class Single(nn.Module):
    """Takes single precision alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            raise TypeError(f"no {x.dtype}, please")
        return x.relu()


def make_numbered(activation: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        activation or nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        Numbered(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


HANDLERS = {Numbered: carry, Single: carry}
REASON = "the full net computes something else when its units are in another order"


@pytest.mark.parametrize("activation", [nn.ReLU(), Single()])
def test_a_group_whose_order_matters_is_left_and_named(activation):
    x = torch.randn(2, 2, 6, 6)
    supernet = build_supernet(make_numbered(activation), x, handlers=HANDLERS)
    weight = supernet.net[2].weight.clone()
    found = assert_reordered(supernet, x, n_left=1)
    assert found.left == {"2": REASON}
    assert found.orders[1] is None
    # Its rows stay, its columns follow the first group.
    assert torch.equal(supernet.net[2].weight, weight[:, found.orders[0].tolist()])


def test_a_head_of_zeros_hides_no_wrong_order():
    x = torch.randn(2, 2, 6, 6)
    net = make_numbered()
    nn.init.zeros_(net[-1].weight)
    supernet = build_supernet(net, x, handlers=HANDLERS)
    assert reorder_units(supernet, draw_scores(supernet)).left == {"2": REASON}
    assert not supernet.net[-1].weight.any()


def test_a_net_that_gives_no_numbers_is_refused():
    supernet = build_supernet(make_chain(), torch.randn(2, 2, 6, 6))
    with torch.no_grad():
        supernet.net[0].bias[0] = torch.nan
    with pytest.raises(ConfigError, match="not finite"):
        reorder_units(supernet, draw_scores(supernet))


def test_what_a_norm_of_scale_zero_hides_is_moved_too():
    net, x = make_chain(), torch.randn(2, 2, 6, 6)
    nn.init.zeros_(net[1].weight)
    supernet = build_supernet(net, x)
    found = assert_reordered(supernet, x)
    assert torch.equal(supernet.net[0].weight, net[0].weight[found.orders[0].tolist()])
    assert not supernet.net[1].weight.any()


def test_modes_gradients_and_memory_formats_stay():
    net, x = make("resnet20")
    supernet = build_supernet(net, x).to(memory_format=torch.channels_last)
    supernet.train()
    supernet.net.bn.eval()
    parameters = dict(supernet.named_parameters())
    parameters["net.head.weight"].requires_grad_(False)
    reorder_units(supernet, draw_scores(supernet))
    assert supernet.training
    assert not supernet.net.bn.training
    assert supernet.widths == supernet.space.full
    for name, parameter in supernet.named_parameters():
        assert parameter is parameters[name]
        assert parameter.grad is None
        assert parameter.requires_grad == (name != "net.head.weight")
    assert supernet.net.stage2[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "of all 1 groups, got 0"),
        ([np.ones(5)], "must be 6 numbers, one a unit, got shape"),
        ([np.array([1, 2, 3, 4, 5, np.nan])], "with NaN"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, message):
    supernet = build_supernet(make_chain(), torch.randn(2, 2, 6, 6))
    with pytest.raises(ConfigError, match=message):
        reorder_units(supernet, scores)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.left(x) + self.right(y)))


def test_a_net_of_several_inputs_is_tried_on_those_given_or_the_example():
    inputs = (torch.randn(2, 4), torch.randn(2, 3))
    supernet = build_supernet(TwoInputs().eval(), inputs)
    before = supernet(*inputs)
    for call in (None, inputs):
        found = reorder_units(supernet, draw_scores(supernet), inputs=call)
        assert not found.left
        torch.testing.assert_close(supernet(*inputs), before)


def assert_as_extracted(supernet: Supernet) -> None:
    """What a plan says is in a subnet is what extraction cuts out, and no other weight is cut."""
    plans = plan_weights(supernet)
    full = dict(supernet.net.named_parameters())
    for widths in sample_widths(supernet):
        cut = dict(extract_subnet(supernet, widths).named_parameters())
        for plan in plans:
            if not all(widths.active[block] for block in plan.blocks):
                assert plan.name not in cut
                continue
            part = full[plan.name]
            for axis, layout in enumerate(plan.axes):
                part = take(part, axis, layout, widths.active)
            assert torch.equal(cut[plan.name], part)
        kept = set(cut) - {plan.name for plan in plans}
        assert all(cut[name].shape == full[name].shape for name in kept if full[name].dim() > 1)


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name: str) -> None:
    assert_as_extracted(make_layers(LAYERS[name])[0])


def test_residual_nets_with_removable_blocks() -> None:
    settings = ModelSettings(name="resnet8", arguments={"width": 4})
    net = build_model(settings, input_shape=(3, 8, 8), n_classes=5, seed=0)
    supernet = build_supernet(net, torch.zeros(2, 3, 8, 8))
    assert supernet.grouping.blocks
    assert_as_extracted(supernet)


@pytest.mark.parametrize("kind", [attentions.Timm, attentions.Torch])
def test_transformers(kind: type[nn.Module]) -> None:
    # A block that leaves its list would shift the names of those behind it.
    net, x = attentions.make_vit(kind), torch.zeros(2, 3, 6, 6)
    assert_as_extracted(build_supernet(net, x, removes_blocks=False))


def test_convolutions_in_groups() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    supernet = build_supernet(net, torch.zeros(2, 3, 6, 6))
    assert [plan.name for plan in plan_weights(supernet)] == [
        "0.weight",
        "1.weight",
        "2.weight",
        "5.weight",
    ]
    assert_as_extracted(supernet)
