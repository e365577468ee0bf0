"""Pictures and what is asked of their pixels, moved alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpod_search.data.augmentation import N_TRIES
from dpod_search.data.augmentation import Transform
from dpod_search.data.augmentation import check_shape
from dpod_search.data.augmentation import draw_places
from dpod_search.data.augmentation import find_range
from dpod_search.data.augmentation import trying
from dpod_search.errors import DataError
from dpod_search.own_code import own_code
from dpod_search.rng import seeded
from dpod_search.torchvision_ops import import_torchvision


def is_mask(target: Tensor, picture: Tensor) -> bool:
    """Say whether a target (..., H, W) is about the pixels of a picture (C, H, W)."""
    return target.ndim >= 2 and target.shape[-2:] == picture.shape[-2:]


def augment_with_masks(
    images: Tensor,
    masks: Tensor,
    generator: torch.Generator,
    *,
    crop_padding: int = 0,
    flip: bool = False,
) -> tuple[Tensor, Tensor]:
    """Shift and mirror pictures and what is asked of their pixels alike.

    The border is the picture's own reflection: a border of zeros would be learnt as a class, or
    need one that is not looked at, and which that is only the task knows.

    Args:
        images: ``batch x channels x height x width``.
        masks: ``batch x height x width``, with or without axes between, of any type.
        generator: Draws the shifts and the flips.
        crop_padding: Largest shift, in pixels, in each direction, less than a side.
        flip: Mirror left to right with probability 1/2.

    Returns:
        Both, of the same shapes.
    """
    rows, columns = draw_places(images, generator, crop_padding, flip)
    rows = _reflect(rows - crop_padding, images.shape[2])
    columns = _reflect(columns - crop_padding, images.shape[3])
    which = torch.arange(len(images))[:, None, None]
    index = (which, ..., rows[:, :, None], columns[:, None, :])
    moved = (tensor[index] for tensor in (images, masks))
    # Axes between the indices come last.
    images, masks = (t.movedim((1, 2), (-2, -1)) for t in moved)
    return images, masks


def check_transform_with_mask(
    transform: Transform, picture: Tensor, mask: Tensor, name: str
) -> None:
    """Try a transform on a picture (C, H, W) and its mask (..., H, W).

    Raises:
        ConfigError: As :func:`~dpod_search.data.augmentation.check_transform` says.
    """
    with trying(name, f"pictures of {tuple(picture.shape)} with masks"):
        pictures, masks = (t.expand(N_TRIES, *t.shape) for t in (picture, mask))
        transform_with_masks(pictures, masks, transform, seed=0)


def transform_with_masks(
    images: Tensor, masks: Tensor, transform: Transform, seed: int
) -> tuple[Tensor, Tensor]:
    """Transform each picture of a batch and its mask.

    Args:
        images: ``batch x channels x height x width``, normalised.
        masks: ``batch x height x width``, with or without axes between.
        transform: Of ``torchvision.transforms.v2``; gets a picture from 0 to 1, as
            :func:`~dpod_search.data.augmentation.transform_batch` says, and its mask, as
            ``tv_tensors``.
        seed: Of PyTorch's global generator inside the call; it is put back after it.

    Returns:
        Both, of the same shapes.

    Raises:
        DataError: If it raises an error, cannot take masks, or changes a shape.
    """
    # Whether others move pixels nobody can tell; those of torchvision move masks along.
    if not isinstance(transform, import_torchvision("transforms.v2").Transform):
        raise DataError(
            "with masks it must be a transform of torchvision.transforms.v2, which moves both"
        )
    low, span = find_range(images)
    with seeded(seed), own_code("the augmentation", DataError):
        pairs = _transform_pairs((images - low) / span, masks, transform)
    for picture, mask in pairs:
        check_shape(picture, tuple(images.shape[1:]))
        check_shape(mask, tuple(masks.shape[1:]))
    changed, moved = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
    return changed * span + low, moved


def _transform_pairs(
    pictures: Tensor, masks: Tensor, transform: Any
) -> list[tuple[Tensor, Tensor]]:
    kinds = import_torchvision("tv_tensors")
    made = [
        transform(kinds.Image(picture), kinds.Mask(mask))
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    return [(a.as_subclass(Tensor), b.as_subclass(Tensor)) for a, b in made]


def _reflect(places: Tensor, size: int) -> Tensor:
    inside = places.abs()
    return torch.where(inside >= size, 2 * (size - 1) - inside, inside)
