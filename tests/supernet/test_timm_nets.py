"""Nets of timm, whose norms are subclasses with a forward of their own; timm may be missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from footprint.counters import count_macs
from footprint.counters import count_params
from footprint.counting import count_footprint

from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.torchvision_ops import ensure_torchvision


try:
    ensure_torchvision()  # timm imports it
except ConfigError:
    pytest.skip("torchvision is missing", allow_module_level=True)
timm = pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "efficientnet_b0", "convnext_atto"])
def test_only_the_output_keeps_its_width(name: str) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=7).eval()
    example = torch.randn(2, 3, 64, 64)
    supernet = build_supernet(model, example)
    footprint, space = build_footprint(supernet), supernet.space

    assert not supernet.grouping.uncounted
    assert len(supernet.grouping.frozen) == 1
    for widths in (space.smallest, space.sample(np.random.default_rng(0))):
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths), torch.no_grad():
            torch.testing.assert_close(supernet(example), subnet(example), rtol=1e-3, atol=1e-4)
        assert footprint.measure(widths) == count_footprint(subnet, example)


@pytest.mark.parametrize("name", ["nf_resnet26", "resnetv2_50x1_bit", "resnetblur18"])
def test_weights_that_are_computed_keep_no_width(name: str) -> None:
    """Standardised convolutions, with a gain or without, and filters in buffers."""
    model = timm.create_model(name, pretrained=False, num_classes=7).eval()
    example = torch.randn(2, 3, 64, 64)
    supernet = build_supernet(model, example)
    footprint, space = build_footprint(supernet), supernet.space

    assert not supernet.grouping.uncounted
    assert len(supernet.grouping.frozen) == 1
    for widths in (space.smallest, space.sample(np.random.default_rng(0))):
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths), torch.no_grad():
            torch.testing.assert_close(supernet(example), subnet(example), rtol=1e-3, atol=1e-4)
        measured = footprint.measure(widths)
        assert measured["macs"] == count_macs(subnet, example)
        assert measured["params"] == count_params(subnet)
