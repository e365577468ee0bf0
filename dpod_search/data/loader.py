"""Batches that depend on the seed and the position alone, so that training resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from dpod_search.data.augmentation import augment_batch
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import check_range
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator


Batch = tuple[Tensor, Tensor]


class SeededLoader:
    """Batches of (pictures, labels) of one epoch, from any batch on.

    The order is a pure function of (seed, epoch) and the augmentation of (seed, epoch, batch):
    iterating twice gives the same batches twice, until :meth:`set_position` moves on.

    Args:
        dataset: Map-style dataset of pictures and labels.
        batch_size: Pictures in a batch, >= 1.
        seed: Seed of the study.
        shuffle: Draw a new order every epoch; otherwise the dataset's own.
        drop_last: Leave out the last batch if it is smaller than the others.
        crop_padding: Shift pictures at random by up to so many pixels; 0 for none.
        flip: Mirror pictures left to right with probability 1/2.
        n_workers: Processes that fetch pictures; 0 fetches in this one, best for sets in memory.

    Raises:
        ConfigError: If a number is out of range, or ``drop_last`` leaves no batch.
        DataError: If the dataset is empty.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = False,
        drop_last: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        n_workers: int = 0,
    ) -> None:
        """Stand at the first batch of epoch 0."""
        check_range("batch_size", batch_size, low=1)
        check_range("crop_padding", crop_padding, low=0)
        check_range("n_workers", n_workers, low=0)
        if len(dataset) == 0:
            raise DataError("a loader needs at least one picture, got an empty dataset")
        if drop_last and batch_size > len(dataset):
            raise ConfigError(
                f"batch_size must be <= {len(dataset)}, the number of pictures, got {batch_size}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.crop_padding = crop_padding
        self.flip = flip
        self.n_workers = n_workers
        self.epoch = 0
        self.batch = 0

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch, wherever the position is."""
        n, size = len(self.dataset), self.batch_size
        return n // size if self.drop_last else math.ceil(n / size)

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Choose where the next iteration starts; nothing is loaded or skipped.

        Args:
            epoch: Epoch, from 0.
            batch: Batch of it to start with, in [0, ``len(self)``].

        Raises:
            ConfigError: If the position is out of range.
        """
        check_range("epoch", epoch, low=0)
        check_range("batch", batch, low=0, high=len(self))
        self.epoch, self.batch = epoch, batch

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches from the position to the end of its epoch."""
        epoch, first = self.epoch, self.batch
        batches = self._batches_of(epoch)[first:]
        for number, (images, labels) in enumerate(self._fetch(batches, epoch), start=first):
            yield self._augment(images, epoch, number), labels

    def _batches_of(self, epoch: int) -> list[list[int]]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = numpy_generator(self.seed, "order", epoch).permutation(n)
        size = self.batch_size
        return [order[i * size : (i + 1) * size].tolist() for i in range(len(self))]

    def _fetch(self, batches: list[list[int]], epoch: int) -> Iterable[Batch]:
        if self.n_workers == 0:
            return (fetch_batch(self.dataset, batch) for batch in batches)
        return DataLoader(
            _WholeBatches(self.dataset),
            sampler=batches,
            batch_size=None,
            num_workers=self.n_workers,
            # Without one, PyTorch would draw the workers' seeds from the global generator.
            generator=torch_generator(self.seed, "workers", epoch),
        )

    def _augment(self, images: Tensor, epoch: int, batch: int) -> Tensor:
        if not self.crop_padding and not self.flip:
            return images
        generator = torch_generator(self.seed, "augment", epoch, batch)
        return augment_batch(images, generator, crop_padding=self.crop_padding, flip=self.flip)


class _WholeBatches(Dataset[Batch]):
    """A dataset whose index is a whole batch of them, for PyTorch's loader."""

    def __init__(self, dataset: ImageDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        return fetch_batch(self._dataset, indices)


def gather_images(source: ImageDataset | Iterable[Batch], limit: int) -> Tensor:
    """Collect pictures into one tensor.

    Args:
        source: A dataset, of which evenly spaced pictures are taken; or a loader, of which the
            first are.
        limit: Largest number of pictures, >= 1.

    Returns:
        At most ``limit`` pictures, ``n x channels x height x width``.

    Raises:
        ConfigError: If ``limit`` is below 1.
        DataError: If there are no pictures.
    """
    check_range("limit", limit, low=1)
    if isinstance(source, ImageDataset):
        if len(source) == 0:
            raise DataError("there are no pictures to gather")
        n = min(limit, len(source))
        indices = np.linspace(0, len(source) - 1, n).round().astype(int).tolist()
        return fetch_batch(source, indices)[0]
    parts: list[Tensor] = []
    n_images = 0
    for images, _ in source:
        parts.append(images)
        n_images += len(images)
        if n_images >= limit:
            break
    if not parts:
        raise DataError("there are no pictures to gather")
    return torch.cat(parts)[:limit]
