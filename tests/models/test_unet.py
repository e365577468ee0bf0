"""The U-Net: logits of the picture's size, whatever that is, and widths that can be narrowed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dpod_search.errors import ConfigError
from dpod_search.models.unet import build_unet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (9, 15), (37, 50)])
def test_logits_have_the_pictures_size(depth: int, size: tuple[int, int]) -> None:
    net = build_unet(input_shape=(3, *size), n_classes=5, width=4, depth=depth)

    assert net(torch.randn(2, 3, *size)).shape == (2, 5, *size)


def test_all_but_the_head_is_elastic_and_exact() -> None:
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 21, 18)
    supernet = build_supernet(build_unet(input_shape=(3, 21, 18), n_classes=5, width=8), pictures)
    supernet.eval()

    assert [dimension.name for dimension in supernet.grouping.frozen] == ["head"]
    assert len(supernet.groups) == 17  # two of each of four and three sizes, one of each way up
    draw = np.random.default_rng(0)
    for _ in range(8):
        widths = supernet.space.sample(draw)
        subnet = extract_subnet(supernet, widths).eval()
        with torch.no_grad(), supernet.active(widths):
            assert torch.equal(supernet(pictures), subnet(pictures))


def test_a_pixel_sees_far_and_keeps_its_place() -> None:
    torch.manual_seed(0)
    net = build_unet(input_shape=(1, 64, 64), n_classes=2, width=4, depth=2).eval()
    pictures = torch.zeros(1, 1, 64, 64)
    moved = pictures.clone()
    moved[0, 0, 32, 32] = 5.0
    with torch.no_grad():
        change = (net(moved) - net(pictures)).abs().sum(1)[0]

    assert change[32, 32] > 0
    assert change[32, 42] > 0  # which two pairs of convolutions at one size would not reach
    assert change[0, 0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be"),
        ({"depth": 7}, "depth must be"),
        ({"depth": 4}, r"depth = 4 halves pictures of 8 x 9 to nothing; make it <= 3"),
    ],
)
def test_numbers_out_of_range_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.arguments\.{message}"):
        build_unet(input_shape=(3, 8, 9), n_classes=2, **arguments)
