"""Random crops and flips of a whole batch, in one gather; and torchvision's transforms.

A transform of ``torchvision.transforms.v2`` sees one picture at a time, so that each has its own
draws. It draws from PyTorch's global generator, which is seeded around a batch and then put back.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import show
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path
from dpod_search.own_code import own_code
from dpod_search.rng import seeded
from dpod_search.torchvision_ops import import_torchvision


# Changes one picture (C, H, W) with values in [0, 1].
Transform = Callable[[Tensor], Tensor]

CROP_FLIP = "crop-flip"
# Name -> torchvision's class and its arguments.
_RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "trivialaugment": ("TrivialAugmentWide", {}),
    "randaugment": ("RandAugment", {}),
    "randomerasing": ("RandomErasing", {"p": 0.25}),
}

# A recipe draws one of about fourteen operations for a picture, and some need 1 or 3 channels.
N_TRIES = 50


def augment_batch(
    images: Tensor, generator: torch.Generator, *, crop_padding: int = 0, flip: bool = False
) -> Tensor:
    """Shift each picture at random inside a border of zeros, and mirror every second one.

    Args:
        images: ``batch x channels x height x width``, normalised: the border is the mean picture.
        generator: Draws the shifts and the flips.
        crop_padding: Largest shift, in pixels, in each direction.
        flip: Mirror left to right with probability 1/2.

    Returns:
        Pictures of the same shape, in channels-last memory.
    """
    rows, columns = draw_places(images, generator, crop_padding, flip)
    padded = F.pad(images, (crop_padding,) * 4)
    which = torch.arange(len(images))[:, None, None]
    # Indices on both sides of a slice put the slice last: batch x height x width x channels.
    cropped = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def draw_places(
    images: Tensor, generator: torch.Generator, crop_padding: int, flip: bool
) -> tuple[Tensor, Tensor]:
    """Draw where each row and column of a picture is taken from, in a padded one.

    Args:
        images: ``batch x channels x height x width``.
        generator: Draws.
        crop_padding: Rows and columns that are added on each side.
        flip: Mirror left to right with probability 1/2.

    Returns:
        Rows ``batch x height`` and columns ``batch x width``.
    """
    batch, _, height, width = images.shape
    limit = 2 * crop_padding + 1
    shifts = torch.randint(limit, (2, batch, 1), generator=generator)
    rows = shifts[0] + torch.arange(height)
    columns = torch.arange(width).expand(batch, width)
    if flip:
        is_flipped = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(is_flipped, width - 1 - columns, columns)
    return rows, shifts[1] + columns


def check_crop_padding(name: str, crop_padding: int, size: Sequence[int]) -> None:
    """Raise unless something of every picture is left when it is shifted.

    Args:
        name: The setting as the user spells it.
        crop_padding: Largest shift, in pixels.
        size: Height and width of the pictures.

    Raises:
        ConfigError: If a picture can be shifted out of sight.
    """
    if crop_padding >= min(size):
        raise ConfigError(
            f"{name} must be <= {min(size) - 1} with pictures of "
            f"{' x '.join(map(str, size))}, got {crop_padding:,}"
        )


def check_augmentation(name: str, augmentation: str) -> None:
    """Raise unless an augmentation is known by its name.

    Args:
        name: The setting as the user spells it.
        augmentation: ``crop-flip``, recipes joined by ``+``, or an import path.

    Raises:
        ConfigError: If a recipe is unknown. Nothing is imported.
    """
    if augmentation == CROP_FLIP or is_import_path(augmentation):
        return
    if not set(augmentation.split("+")) <= set(_RECIPES):
        raise ConfigError(
            f"{name} must be {CROP_FLIP!r}, one of {sorted(_RECIPES)} or several joined by '+', "
            f"or package.module:function, got {show(augmentation)}"
        )


def make_transform(augmentation: str | Transform) -> Transform | None:
    """Make the transform of single pictures that an augmentation names.

    Args:
        augmentation: As for :func:`check_augmentation`; a function named by an import path is
            called without arguments and returns the transform. Or the transform itself.

    Returns:
        The transform, None for ``crop-flip``.

    Raises:
        ConfigError: If it is unknown, or torchvision cannot be imported.
    """
    if not isinstance(augmentation, str):
        return augmentation
    check_augmentation("augmentation", augmentation)
    if augmentation == CROP_FLIP:
        return None
    if is_import_path(augmentation):
        name = f"augmentation {augmentation}"
        with own_code(name, ConfigError):
            made = call_with(import_object(augmentation), {}, name=name)
        if not callable(made):
            raise ConfigError(
                f"{augmentation} must return a transform of pictures, got a {type(made).__name__}"
            )
        transform: Transform = made
        return transform
    v2 = import_torchvision("transforms.v2")
    chosen = [_RECIPES[recipe] for recipe in augmentation.split("+")]
    parts = [getattr(v2, kind)(**arguments) for kind, arguments in chosen]
    composed: Transform = v2.Compose(parts)
    return composed


def check_transform(transform: Transform, picture: Tensor, name: str) -> None:
    """Try a transform on a picture, so that what it cannot do is said before training.

    Args:
        transform: From :func:`make_transform`.
        picture: One of those to come, shape (C, H, W).
        name: What the user calls the transform.

    Raises:
        ConfigError: If it fails, or gives anything but a picture of the same shape.
    """
    with trying(name, f"pictures of {tuple(picture.shape)}"):
        transform_batch(picture.expand(N_TRIES, *picture.shape), transform, seed=0)


@contextmanager
def trying(name: str, what: str) -> Iterator[None]:
    """Turn what a transform cannot do into an error of the setting that names it.

    Args:
        name: What the user calls the transform.
        what: What it is tried on, for the message.

    Raises:
        ConfigError: In place of a `DataError` inside.
    """
    try:
        yield
    except DataError as error:
        raise ConfigError(
            f"augmentation {name} cannot be used on {what} ({error}); choose another, or "
            f"{CROP_FLIP!r}"
        ) from error.__cause__


def transform_batch(images: Tensor, transform: Transform, seed: int) -> Tensor:
    """Transform each picture of a batch.

    Args:
        images: ``batch x channels x height x width``, normalised.
        transform: Gets one picture at a time. Each channel runs from 0 to 1 over the values it
            has in the batch, which undoes a normalisation without knowing it: colour operations
            of torchvision expect that.
        seed: Of PyTorch's global generator inside the call; it is put back after it.

    Returns:
        Pictures of the same shape, normalised as they were.

    Raises:
        DataError: If the transform raises an error, or gives anything but a picture of the same
            shape.
    """
    low, span = find_range(images)
    with seeded(seed), own_code("the augmentation", DataError):
        changed = [transform(picture) for picture in (images - low) / span]
    for picture in changed:
        check_shape(picture, tuple(images.shape[1:]))
    return torch.stack(changed) * span + low


def find_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least value of each channel, and how far above it the others go (1 for nowhere)."""
    low, high = images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)
    return low, torch.where(high > low, high - low, torch.ones_like(high))


def check_shape(made: object, shape: tuple[int, ...]) -> None:
    """Raise a `DataError` unless what a transform made is a tensor of this shape."""
    if not isinstance(made, Tensor) or made.shape != shape:
        got = (
            f"one of {tuple(made.shape)}"
            if isinstance(made, Tensor)
            else f"a {type(made).__name__}"
        )
        raise DataError(
            f"the augmentation made {got} of a picture of {shape}; it must keep the shape"
        )
