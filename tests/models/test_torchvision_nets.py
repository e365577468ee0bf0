"""Nets of torchvision by name."""

from __future__ import annotations

import pytest
import torch

from dpod_search.errors import ConfigError
from dpod_search.models.torchvision_nets import build_torchvision_net


def test_builds_a_net_with_the_classes_of_the_data() -> None:
    model = build_torchvision_net(
        "mobilenet_v3_small", n_classes=5, arguments={"width_mult": 0.25}
    ).eval()

    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_googlenet_has_one_output_in_training_too() -> None:
    model = build_torchvision_net("googlenet", n_classes=4, arguments={})

    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'resnet19'; did you mean torchvision:resnet1"):
        build_torchvision_net("resnet19", n_classes=4, arguments={})


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "raft_large", "no-net-at-all"])
def test_only_classification_nets_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match="no classification model"):
        build_torchvision_net(name, n_classes=4, arguments={})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"no_such": 1}, "does not take model.arguments"),
        ({"num_classes": 3}, "must not hold"),
        ({"weights": "DEFAULT"}, "must not hold"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_torchvision_net("resnet18", n_classes=4, arguments=arguments)
