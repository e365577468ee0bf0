"""Crops and flips: each picture is a shifted, perhaps mirrored, copy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dpod_search.data.augmentation import augment_batch


def list_variants(image: Tensor, padding: int, flip: bool) -> list[Tensor]:
    """Make every crop of a picture that may be drawn."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (padding,) * 4)
    crops = [
        padded[:, y : y + height, x : x + width]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    ]
    # The picture is mirrored inside its frame, after the shift.
    return crops + [crop.flip(-1) for crop in crops] if flip else crops


@given(seed=st.integers(0, 1000), padding=st.integers(0, 2), flip=st.booleans())
def test_every_picture_is_one_of_its_crops(seed: int, padding: int, flip: bool) -> None:
    images = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    augmented = augment_batch(images, generator, crop_padding=padding, flip=flip)

    assert augmented.shape == images.shape
    for image, result in zip(images, augmented, strict=True):
        assert any(torch.equal(result, crop) for crop in list_variants(image, padding, flip))


def test_draws_every_variant() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3) + 1
    generator = torch.Generator().manual_seed(0)
    augmented = augment_batch(image.expand(500, 1, 3, 3), generator, crop_padding=1, flip=True)

    assert len(torch.unique(augmented.flatten(1), dim=0)) == 18


def test_does_nothing_without_padding_and_flip() -> None:
    images = torch.randn(3, 2, 4, 5)

    assert torch.equal(augment_batch(images, torch.Generator()), images)
