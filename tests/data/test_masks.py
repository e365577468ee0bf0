"""Masks move with their pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import TensorDataset

from dpod_search.data import SeededLoader
from dpod_search.data.masks import augment_with_masks
from dpod_search.errors import ConfigError
from dpod_search.torchvision_ops import import_torchvision


def make_pairs(n: int = 9, height: int = 5, width: int = 6) -> tuple[Tensor, Tensor]:
    """Make pictures that hold, in each channel, the class of the pixel."""
    draw = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 1000, (n, height, width), generator=draw)
    return masks[:, None].expand(n, 3, height, width).float(), masks


@given(seed=st.integers(0, 1000), padding=st.integers(0, 4), flip=st.booleans())
def test_pictures_and_masks_are_shifted_and_mirrored_alike(
    seed: int, padding: int, flip: bool
) -> None:
    images, masks = make_pairs()
    generator = torch.Generator().manual_seed(seed)
    moved, moved_masks = augment_with_masks(
        images, masks, generator, crop_padding=padding, flip=flip
    )

    assert moved.shape == images.shape
    assert moved_masks.dtype == masks.dtype
    assert torch.equal(moved, moved_masks[:, None].expand_as(moved).float())


@given(seed=st.integers(0, 1000))
def test_the_border_is_a_reflection(seed: int) -> None:
    images, masks = make_pairs(n=1)
    moved, _ = augment_with_masks(
        images, masks, torch.Generator().manual_seed(seed), crop_padding=3
    )
    padded = F.pad(images, (3,) * 4, mode="reflect")
    crops = [padded[..., y : y + 5, x : x + 6] for y in range(7) for x in range(7)]

    assert any(torch.equal(moved, crop) for crop in crops)


def test_a_mask_may_have_axes_of_its_own_before_the_places() -> None:
    images, masks = make_pairs()
    several = torch.stack([masks, masks + 1], dim=1)
    moved, moved_masks = augment_with_masks(
        images, several, torch.Generator().manual_seed(0), crop_padding=1, flip=True
    )

    assert torch.equal(moved_masks[:, 0].float(), moved[:, 0])
    assert torch.equal(moved_masks[:, 1], moved_masks[:, 0] + 1)


def make_rotation() -> Any:
    """Make a transform of torchvision's that moves pixels."""
    return import_torchvision("transforms.v2").RandomHorizontalFlip(p=0.5)


def load(targets: Tensor, **options: Any) -> list[tuple[Tensor, Tensor]]:
    """Run an epoch over pictures with these targets."""
    images, _ = make_pairs(len(targets))
    return list(SeededLoader(TensorDataset(images, targets), batch_size=4, seed=0, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"crop_padding": 2, "flip": True},
        {"augmentation": f"{__name__}:make_rotation"},
        {"crop_padding": 1, "augmentation": make_rotation()},
    ],
)
def test_a_loader_moves_masks_with_pictures(options: dict[str, Any]) -> None:
    _, masks = make_pairs()
    batches = load(masks, **options)

    for images, moved in batches:
        torch.testing.assert_close(images[:, 0], moved.float(), atol=1e-3, rtol=0)
    assert not torch.equal(torch.cat([moved for _, moved in batches]), masks)


@pytest.mark.parametrize("augmentation", ["trivialaugment", lambda picture: picture])
def test_what_cannot_move_masks_is_refused_in_one_line(augmentation: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used on .* with masks") as caught:
        load(make_pairs()[1], augmentation=augmentation)
    assert "\n" not in str(caught.value)


def test_targets_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"targets of \(2, 3\) with pictures of \(3, 5, 6\)"):
        load(torch.zeros(9, 2, 3), flip=True)


def test_labels_and_vectors_stay() -> None:
    vectors = torch.rand(9, 4)
    assert torch.equal(torch.cat([t for _, t in load(vectors, flip=True)]), vectors)


@pytest.mark.parametrize(
    "option", [{"crop_padding": 1}, {"flip": True}, {"augmentation": "randaugment"}]
)
@pytest.mark.parametrize("samples", [torch.arange(40).reshape(10, 4), torch.rand(10, 4)])
def test_samples_that_are_no_pictures_are_not_augmented(
    option: dict[str, Any], samples: Tensor
) -> None:
    dataset = TensorDataset(samples, torch.zeros(10))
    with pytest.raises(
        ConfigError, match=r"change pictures .* and the samples are .*\(4,\)"
    ) as caught:
        SeededLoader(dataset, batch_size=2, seed=0, **option)
    assert "\n" not in str(caught.value)
