"""Batches that depend on the seed and the position alone, so that training resumes exactly."""

from __future__ import annotations

import math
import multiprocessing
import os
import traceback
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from dpod_search.data.augmentation import CROP_FLIP
from dpod_search.data.augmentation import Transform
from dpod_search.data.augmentation import make_transform
from dpod_search.data.changes import Changes
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.settings import MAX_PIXELS
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import check_count
from dpod_search.inputs import Samples
from dpod_search.inputs import count_samples
from dpod_search.inputs import join_samples
from dpod_search.inputs import take_samples
from dpod_search.orphans import end_with
from dpod_search.own_code import is_own
from dpod_search.placement import check_parallel
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.tasks.batches import read_batch
from dpod_search.tasks.batches import read_samples


# Samples (N, ...), or several inputs, and what the task asks of them: for classification labels (N,).
Batch = tuple[Samples, Tensor]
Batches = Iterable[Batch]


class SeededLoader:
    """Batches of (samples, targets) of one epoch, from any batch on.

    The order is a pure function of (seed, epoch) and the augmentation of (seed, epoch, batch):
    iterating twice gives the same batches twice, until :meth:`set_position` moves on.

    Args:
        dataset: Map-style dataset of samples and targets.
        batch_size: Samples in a batch, 1 to 1,000,000.
        seed: Seed of the study.
        shuffle: Draw a new order every epoch; otherwise the dataset's own.
        drop_last: Leave out the last batch if it is smaller than the others.
        crop_padding: Shift pictures at random by up to so many pixels, less than their shorter
            side has; 0 for none. Masks, targets of a picture's size, are moved along, and both
            are reflected at the border then, where pictures alone have zeros.
        flip: Mirror pictures left to right with probability 1/2.
        augmentation: What is done after that: ``crop-flip`` for nothing; ``trivialaugment``,
            ``randaugment``, ``randomerasing``, or several joined by ``+``; a function that
            returns a transform, as ``package.module:function``; or a transform of
            ``torchvision.transforms.v2`` itself. With masks only the last two, of torchvision's
            own classes, which move them along.
        n_workers: Processes that fetch and augment pictures, as many as the machine can bear; 0
            does so in this one, best for sets in memory.
        rank: Of ``n_ranks`` processes that share every batch, the one whose part this is, from 0.
        n_ranks: How many they are; ``batch_size``, and every batch, is divisible by it.

    Raises:
        ConfigError: If a number is out of range, ``drop_last`` leaves no batch, or the
            augmentation is unknown or does not fit the samples.
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
        augmentation: str | Transform = CROP_FLIP,
        n_workers: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        """Stand at the first batch of epoch 0."""
        check_count("batch_size", batch_size, low=1, high=1_000_000)
        check_count("crop_padding", crop_padding, low=0, high=MAX_PIXELS)
        check_parallel("n_workers", n_workers, low=0)
        check_count("n_ranks", n_ranks, low=1, high=1_000_000)
        check_count("rank", rank, low=0, high=n_ranks - 1)
        if len(dataset) == 0:
            raise DataError("a loader needs at least one picture, got an empty dataset")
        if drop_last and batch_size > len(dataset):
            raise ConfigError(
                f"batch_size must be <= {len(dataset)}, the number of pictures, got {batch_size}"
            )
        if batch_size % n_ranks or (not drop_last and len(dataset) % n_ranks):
            raise ConfigError(
                f"batches of {batch_size} from {len(dataset)} pictures cannot be shared evenly by "
                f"{n_ranks} ranks; set drop_last and a multiple of {n_ranks}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.crop_padding = crop_padding
        self.flip = flip
        self._changes = Changes(seed, crop_padding, flip, make_transform(augmentation))
        self._changes.check(dataset, augmentation)
        self.n_workers = n_workers
        self.rank = rank
        self.n_ranks = n_ranks
        # Pictures of one rank must not be augmented just as those of another are.
        self._draws = (rank,) if rank else ()
        self.epoch = 0
        self.batch = 0

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch, wherever the position is."""
        n, size = len(self.dataset), self.batch_size
        return n // size if self.drop_last else math.ceil(n / size)

    @property
    def n_images(self) -> int:
        """Pictures of a whole epoch, of all ranks together."""
        n = len(self.dataset)
        return n // self.batch_size * self.batch_size if self.drop_last else n

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Choose where the next iteration starts; nothing is loaded or skipped.

        Args:
            epoch: Epoch, from 0.
            batch: Batch of it to start with, in [0, ``len(self)``].

        Raises:
            ConfigError: If the position is out of range.
        """
        check_count("epoch", epoch, low=0, high=1_000_000)
        check_count("batch", batch, low=0, high=len(self))
        self.epoch, self.batch = epoch, batch

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches from the position to the end of its epoch."""
        epoch, first = self.epoch, self.batch
        numbered = list(enumerate(self._batches_of(epoch)))[first:]
        batches = _AugmentedBatches(self, epoch)
        if self.n_workers == 0:
            yield from map(batches.__getitem__, numbered)
        else:
            yield from map(
                _unwrap,
                DataLoader(
                    _Answers(batches),
                    sampler=numbered,
                    batch_size=None,
                    num_workers=self.n_workers,
                    multiprocessing_context=_start_method(),
                    worker_init_fn=partial(_start_worker, os.getpid()),
                    # Without one, PyTorch would draw the workers' seeds from the global generator.
                    generator=torch_generator(self.seed, "workers", epoch),
                ),
            )

    def _batches_of(self, epoch: int) -> list[list[int]]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = numpy_generator(self.seed, "order", epoch).permutation(n)
        size = self.batch_size
        whole = [order[i * size : (i + 1) * size] for i in range(len(self))]
        return [batch[self.rank :: self.n_ranks].tolist() for batch in whole]

    def augment(self, batch: Batch, epoch: int, number: int) -> Batch:
        """Augment the pictures of a batch, and masks with them, as its position says."""
        samples, targets = batch
        if not isinstance(samples, Tensor):  # which nothing changes
            return batch
        return self._changes.apply(samples, targets, (epoch, number, *self._draws))


class _AugmentedBatches(Dataset[Batch]):
    """A dataset whose index is a whole batch and its number, for PyTorch's loader."""

    def __init__(self, loader: SeededLoader, epoch: int) -> None:
        self._loader = loader
        self._epoch = epoch

    def __getitem__(self, index: tuple[int, Sequence[int]]) -> Batch:
        number, indices = index
        batch = fetch_batch(self._loader.dataset, indices)
        return self._loader.augment(batch, self._epoch, number)


class _Answers(Dataset[Batch | DpodSearchError]):
    """Batches from another process, or what it has to say of the pictures.

    PyTorch would hand over an error with the traceback of that process as its message.
    """

    def __init__(self, batches: _AugmentedBatches) -> None:
        self._batches = batches

    def __getitem__(self, index: tuple[int, Sequence[int]]) -> Batch | DpodSearchError:
        try:
            return self._batches[index]
        except DpodSearchError as error:
            if is_own(error.__cause__):  # which is lost on the way
                error.add_note("".join(traceback.format_exception(error.__cause__)))
            return error


def _unwrap(answer: Batch | DpodSearchError) -> Batch:
    if isinstance(answer, DpodSearchError):
        raise answer
    return answer


def _start_method() -> str:
    # A process that joblib started has a way of its own, which PyTorch's workers cannot go.
    ways = multiprocessing.get_all_start_methods()
    way = multiprocessing.get_start_method()
    return way if way in ways else ways[0]


def _start_worker(parent: int, number: int) -> None:
    # PyTorch's own workers look for their parent too, but not before they have made their batch.
    end_with(parent)


def gather_images(source: ImageDataset | Iterable[Batch], limit: int) -> Samples:
    """Collect samples, pictures or others, into one tensor or several inputs.

    Args:
        source: A dataset, of which evenly spaced samples are taken; or a loader, of which the
            first are.
        limit: Largest number of samples, 1 to 10,000,000.

    Returns:
        At most ``limit`` samples, ``n x ...``, for pictures ``n x channels x height x width``.
        Batches whose samples have other shapes than the first one's are left out.

    Raises:
        ConfigError: If ``limit`` is out of range.
        DataError: If there are no pictures.
    """
    check_count("limit", limit, low=1, high=10_000_000)
    if isinstance(source, ImageDataset):
        if len(source) == 0:
            raise DataError("there are no pictures to gather")
        n = min(limit, len(source))
        indices = np.linspace(0, len(source) - 1, n).round().astype(int).tolist()
        return read_samples(fetch_batch(source, indices)[0])
    parts = [samples for samples, _ in take_batches(source, limit)]
    if not parts:
        raise DataError("there are no pictures to gather")
    return take_samples(join_samples(parts), slice(limit))


def take_batches(batches: Batches, n_images: int) -> Iterator[Batch]:
    """Give the first batches, up to the one that makes so many pictures, or more, of them."""
    left = n_images
    for batch in batches:
        samples, targets = read_batch(batch)
        yield samples, targets
        left -= count_samples(samples)
        if left <= 0:
            return
