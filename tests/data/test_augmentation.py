"""Crops and flips: each picture is a shifted, perhaps mirrored, copy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dpod_search.data.augmentation import Transform
from dpod_search.data.augmentation import augment_batch
from dpod_search.data.augmentation import check_augmentation
from dpod_search.data.augmentation import check_transform
from dpod_search.data.augmentation import make_transform
from dpod_search.data.augmentation import transform_batch
from dpod_search.errors import ConfigError


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


def make_noise() -> object:
    """Make a transform as a study file names it: noise, from the global generator."""
    return lambda picture: picture + torch.rand_like(picture)


def make_number() -> object:
    return 3


RECIPES = ("trivialaugment", "randaugment", "randomerasing", "trivialaugment+randomerasing")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_recipes_depend_on_the_seed_alone_and_leave_the_generator(
    recipe: str, n_channels: int
) -> None:
    images = torch.randn(16, n_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    transform = make_transform(recipe)
    assert transform is not None
    made = []
    for noise, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        made.append(transform_batch(images, transform, seed))
        assert torch.equal(torch.get_rng_state(), before)
    assert made[0].shape == images.shape
    assert made[0].isfinite().all()
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], images)


def test_a_transform_sees_single_pictures_from_0_to_1() -> None:
    images = torch.randn(6, 2, 4, 5) * 3 - 1
    images[:, 1] = 7.0  # one value only has no range
    seen: list[Tensor] = []

    def look(picture: Tensor) -> Tensor:
        seen.append(picture)
        return picture

    torch.testing.assert_close(transform_batch(images, look, 0), images)
    pictures = torch.stack(seen)
    assert pictures.shape == images.shape
    assert pictures[:, 0].min() == 0
    assert pictures[:, 0].max() == 1
    assert (pictures[:, 1] == 0).all()


def test_each_picture_has_its_own_draws() -> None:
    images = torch.ones(8, 1, 3, 3)
    noisy = transform_batch(images, lambda picture: picture + torch.rand(()), 0)

    assert len(noisy.flatten(1).unique(dim=0)) == 8


def test_a_function_of_the_users_own_makes_a_transform() -> None:
    transform = make_transform(f"{__name__}:make_noise")
    assert transform is not None
    assert transform_batch(torch.zeros(2, 1, 3, 3), transform, 0).unique().numel() == 18


def test_crop_flip_is_no_transform() -> None:
    assert make_transform("crop-flip") is None


@pytest.mark.parametrize("augmentation", ["trivial", "crop-flip+randaugment", "", "randaugment+"])
def test_unknown_recipes_are_named_in_one_line(augmentation: str) -> None:
    with pytest.raises(ConfigError, match="training.augmentation must be") as caught:
        check_augmentation("training.augmentation", augmentation)
    assert "\n" not in str(caught.value)


def test_what_makes_no_transform_is_refused() -> None:
    with pytest.raises(ConfigError, match="must return a transform of pictures, got a int"):
        make_transform(f"{__name__}:make_number")


def fail(picture: Tensor) -> Tensor:
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("transform", "shape", "match"),
    [
        (lambda picture: picture[:, 1:], (1, 3, 3), r"made one of \(1, 2, 3\)"),
        (lambda picture: None, (1, 3, 3), "made a NoneType"),
        (fail, (1, 3, 3), r"RuntimeError in .*: two lines"),
        (make_transform("trivialaugment"), (2, 8, 8), "channel"),
        (make_transform("randaugment"), (5, 8, 8), "channel"),
    ],
)
def test_a_transform_that_does_not_fit_is_said_before_training(
    transform: Transform, shape: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        check_transform(transform, torch.rand(shape), "this")
    assert "augmentation this cannot be used" in str(caught.value)
    assert "\n" not in str(caught.value)
