from __future__ import annotations

import pytest
import torch
from supernet import attentions
from supernet.layers.test_more_layers import LAYERS
from supernet.layers.test_more_layers import make as make_layers
from supernet.layers.test_more_layers import sample_widths
from torch import nn

from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import plan_weights
from dpod_search.supernet.layout import take


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
