"""Published nets: narrow runs equal extracted nets, and cost what the closed forms say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from footprint.counting import count_footprint
from supernet.exactness import assert_all_told

from dpod_search.footprint import build_footprint
from dpod_search.models.torchvision_nets import build_torchvision_net
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


NETS = [
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "squeezenet1_0",
    "vgg11_bn",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "resnext50_32x4d",
    "efficientnet_b0",
    "convnext_tiny",
]  # fmt: skip  (a table)


@pytest.mark.parametrize("name", NETS)
def test_narrow_runs_equal_extracted_nets_and_closed_forms(name: str) -> None:
    model = build_torchvision_net(name, n_classes=7, arguments={}).eval()
    example = torch.randn(2, 3, 32, 32)
    supernet = build_supernet(model, example)
    footprint = build_footprint(supernet)
    space = supernet.space
    rng = np.random.default_rng(0)

    assert_all_told(supernet)
    assert not supernet.grouping.uncounted
    for widths in (space.smallest, space.sample(rng)):
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths), torch.no_grad():
            torch.testing.assert_close(supernet(example), subnet(example), rtol=1e-3, atol=1e-4)
        assert footprint.measure(widths) == count_footprint(subnet, example)

    macs = footprint.table([space.full.active, space.smallest.active])["macs"]
    assert macs[1] < 0.05 * macs[0]  # nothing that matters is frozen
