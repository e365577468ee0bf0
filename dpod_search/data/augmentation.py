"""Random crops and flips of a whole batch, in one gather."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    batch, _, height, width = images.shape
    limit = 2 * crop_padding + 1
    shifts = torch.randint(limit, (2, batch, 1), generator=generator)
    rows = shifts[0] + torch.arange(height)
    columns = torch.arange(width).expand(batch, width)
    if flip:
        is_flipped = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(is_flipped, width - 1 - columns, columns)
    columns = shifts[1] + columns
    padded = F.pad(images, (crop_padding,) * 4)
    which = torch.arange(batch)[:, None, None]
    # Indices on both sides of a slice put the slice last: batch x height x width x channels.
    cropped = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
