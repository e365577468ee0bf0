"""What is done to the samples of a training batch: crops, flips and a transform of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

from torch import Tensor

from dpod_search.data.augmentation import Transform
from dpod_search.data.augmentation import augment_batch
from dpod_search.data.augmentation import check_crop_padding
from dpod_search.data.augmentation import check_transform
from dpod_search.data.augmentation import transform_batch
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.masks import augment_with_masks
from dpod_search.data.masks import check_transform_with_mask
from dpod_search.data.masks import is_mask
from dpod_search.data.masks import transform_with_masks
from dpod_search.errors import ConfigError
from dpod_search.rng import derive_seed
from dpod_search.rng import torch_generator


@dataclass
class Changes:
    """How samples are changed, as a function of a seed and of where a batch is.

    Args:
        seed: Seed of the study.
        crop_padding: Largest shift, in pixels.
        flip: Mirror left to right with probability 1/2.
        transform: What is done after that.
        has_masks: Targets are masks, which are moved along; :meth:`check` finds that out.
    """

    seed: int
    crop_padding: int
    flip: bool
    transform: Transform | None
    has_masks: bool = field(default=False, init=False)

    def check(self, dataset: ImageDataset, augmentation: str | Transform) -> None:
        """Try what samples are changed by, and note whether their targets are moved with them.

        Args:
            dataset: Whose first sample is tried, if they are changed at all.
            augmentation: What the user calls the transform.

        Raises:
            ConfigError: If the samples are no pictures, or not such as these changes can take.
        """
        if not (self.crop_padding or self.flip or self.transform is not None):
            return
        samples, targets = fetch_batch(dataset, [0])
        _check_pictures(samples)
        picture, target = samples[0], targets[0]
        self.has_masks = is_mask(target, picture)
        if target.ndim >= 2 and not self.has_masks:
            raise ConfigError(
                "training.crop_padding, flip and augmentation cannot move targets of "
                f"{tuple(target.shape)} with pictures of {tuple(picture.shape)}; leave all three "
                "out, or give targets of the pictures' size"
            )
        if self.crop_padding:
            check_crop_padding("crop_padding", self.crop_padding, picture.shape[-2:])
        if self.transform is not None:
            name = augmentation if isinstance(augmentation, str) else repr(augmentation)
            if self.has_masks:
                check_transform_with_mask(self.transform, picture, target, name)
            else:
                check_transform(self.transform, picture, name)

    def apply(
        self, images: Tensor, targets: Tensor, place: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Change a batch; neither tensor is changed in place.

        Args:
            images: The samples.
            targets: Theirs.
            place: Where the batch is, by which it draws.
        """
        if self.crop_padding or self.flip:
            generator = torch_generator(self.seed, "augment", *place)
            padding, flip = self.crop_padding, self.flip
            if self.has_masks:
                images, targets = augment_with_masks(
                    images, targets, generator, crop_padding=padding, flip=flip
                )
            else:
                images = augment_batch(images, generator, crop_padding=padding, flip=flip)
        if self.transform is not None:
            seed = derive_seed(self.seed, "transform", *place)
            if self.has_masks:
                images, targets = transform_with_masks(images, targets, self.transform, seed)
            else:
                images = transform_batch(images, self.transform, seed)
        return images, targets


def _check_pictures(samples: object) -> None:
    is_picture = isinstance(samples, Tensor) and samples.ndim == 4 and samples.is_floating_point()
    if not is_picture:
        got = (
            f"{samples.dtype} {tuple(samples.shape[1:])}"
            if isinstance(samples, Tensor)
            else "several tensors each"
        )
        raise ConfigError(
            "training.crop_padding, flip and augmentation change pictures (float32, channels x "
            f"height x width), and the samples are {got}; leave all three out"
        )
