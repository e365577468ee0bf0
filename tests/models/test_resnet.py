"""The built-in nets: their published size, their shapes, their names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.models.resnet import ResNet
from dpod_search.models.resnet import build_resnet8
from dpod_search.models.resnet import build_resnet20


def count_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Count multiply-adds of convolutions and linear layers, one each, by running them."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *input_shape))
    return total


def test_resnet20_has_the_published_macs() -> None:
    model = build_resnet20(input_shape=(3, 32, 32), n_classes=10)

    assert count_macs(model, (3, 32, 32)) == 40_813_184  # published: 40.81 M


def test_resnet20_has_twenty_layers_with_weights_on_its_main_path() -> None:
    model = build_resnet20(input_shape=(3, 32, 32), n_classes=10)

    names = [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    assert len([name for name in names if "shortcut" not in name]) == 20
    assert [name for name in names if "shortcut" in name] == [
        "stage2.0.shortcut.conv",
        "stage3.0.shortcut.conv",
    ]


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 28, 28), (2, 15, 9)])
def test_resnet8_takes_any_picture(input_shape: tuple[int, int, int]) -> None:
    model = build_resnet8(input_shape=input_shape, n_classes=7, width=4)

    assert model(torch.randn(2, *input_shape)).shape == (2, 7)


def test_stages_double_in_width() -> None:
    model = build_resnet8(input_shape=(1, 8, 8), n_classes=10, width=6)

    assert isinstance(model, ResNet)
    assert model.conv.out_channels == 6
    assert model.head.in_features == 24


def test_torch_fx_traces_it() -> None:
    model = build_resnet8(input_shape=(1, 8, 8), n_classes=10).eval()
    x = torch.randn(2, 1, 8, 8)

    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))
