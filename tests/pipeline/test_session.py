"""What the stages share."""

from __future__ import annotations

import logging

import pytest
import torch

from dpod_search.config import make_study
from dpod_search.models.torchvision_nets import build_torchvision_net
from dpod_search.pipeline.nets import make_supernet


@pytest.mark.parametrize(
    ("name", "weights", "is_told"),
    [
        ("shufflenet_v2_x0_5", '"given.safetensors"', True),
        ("shufflenet_v2_x0_5", "", False),
        ("resnet18", '"given.safetensors"', False),
    ],
)
def test_given_weights_that_are_not_shared_in_order_are_warned_of(caplog, name, weights, is_told):
    changes = [
        f'model.name="torchvision:{name}"',
        *([f"model.weights={weights}"] if weights else []),
    ]
    net = build_torchvision_net(name, n_classes=7, arguments={})
    with caplog.at_level(logging.WARNING):
        make_supernet(make_study("tiny", changes), net, torch.randn(2, 3, 64, 64))
    told = [text for text in caplog.messages if text.startswith("model.weights")]
    assert bool(told) == is_told
    assert all("stage2.0.branch1.2" in text and "resnet" not in text for text in told)
