"""Datasets that can fetch a whole batch at once, and views of a part of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.collating import collate
from dpod_search.data.collating import read_target
from dpod_search.data.collating import split_batch
from dpod_search.data.items import check_items
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.own_code import own_code


# Pictures resized or hashed at a time, so that a large set needs little memory beside itself.
_CHUNK = 4096
_MAX_BYTES = 2**36  # of all pictures of a set in memory


@runtime_checkable
class ImageDataset(Protocol):
    """A map-style dataset of (sample, target), pictures or any others.

    A sample is a tensor of any shape, one for all: a float32 picture ``channels x height x width``,
    a row of float32 numbers, a row of int64 tokens. A target is a whole number, the class, or a
    number or tensor: labels, a mask, targets, tokens.
    """

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int, /) -> Any:
        """Return a sample, a picture normalised, and its target."""


@runtime_checkable
class BatchFetcher(Protocol):
    """A dataset that has a quicker way to a batch than sample by sample."""

    def fetch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """Return the samples (``batch x ...``) and targets (``batch`` or more axes) at indices."""


def fetch_batch(dataset: ImageDataset, indices: Sequence[int]) -> tuple[Any, Tensor]:
    """Fetch a batch the quickest way the dataset has.

    Args:
        dataset: Any map-style dataset of samples and targets.
        indices: Positions in the dataset, at least one.

    Returns:
        Samples, for pictures float32 ``batch x channels x height x width`` (of samples that are
        several tensors, each so), and targets: int64 ``batch`` for classes, else what they are,
        with a sample a row.

    Raises:
        DataError: If a user's dataset raises an error, or yields what cannot be a batch.
    """
    with own_code("the dataset", DataError, called=dataset):
        if isinstance(dataset, BatchFetcher):
            return dataset.fetch(indices)
        many = getattr(dataset, "__getitems__", None)
        items = many(list(indices)) if many is not None else [dataset[int(i)] for i in indices]
    try:
        samples = collate([item[0] for item in items])
        return samples, _collate_targets([item[1] for item in items])
    except Exception:
        check_items(zip(indices, items, strict=False), "the dataset")
        raise


def _collate_targets(targets: Sequence[Any]) -> Tensor:
    made: Tensor = collate(targets)
    # A class may come as a tensor of any whole-number type.
    return made if made.ndim > 1 or made.is_floating_point() else made.to(torch.int64)


class InMemorySamples(Dataset[tuple[Tensor, Any]]):
    """Samples and targets held as they are.

    Args:
        samples: ``n x ...``, as a model takes them.
        targets: ``n``, or ``n x ...``; bytes, such as masks, are handed out as int64.
        how: What was done to both, in words, for those who use an exported model.
    """

    def __init__(self, samples: Tensor, targets: Tensor, *, how: str = "") -> None:
        """Keep the tensors; nothing is copied."""
        self.samples = samples
        self.targets = targets
        self.how = how

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Return a sample and its target."""
        samples, targets = self.fetch([index])
        return samples[0], read_target(targets, 0)

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Any]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        return split_batch(*self.fetch(indices))

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a batch at once; shapes as :func:`fetch_batch`."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return self.samples[index], _widen(self.targets[index])


def _widen(targets: Tensor) -> Tensor:
    return targets.to(torch.int64) if targets.dtype == torch.uint8 else targets


class InMemoryImages(Dataset[tuple[Tensor, Any]]):
    """Pictures held as bytes and normalised when they are fetched.

    Args:
        images: ``n x channels x height x width``, uint8.
        labels: ``n`` classes, int64; or other targets, ``n x ...``; bytes, such as masks, are
            handed out as int64.
        peak: The byte that stands for 1.0 before normalisation: 255, or 16 for the digits.
        mean: Mean of each channel, on the scale of 0 to 1.
        std: Standard deviation of each channel, on the same scale.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        peak: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """Keep the tensors; nothing is copied."""
        self.images = images
        self.labels = labels
        self._scale = (1 / (peak * torch.tensor(std))).reshape(-1, 1, 1)
        self._shift = -(torch.tensor(mean) / torch.tensor(std)).reshape(-1, 1, 1)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Return a normalised picture and its target."""
        images, labels = self.fetch([index])
        return images[0], read_target(labels, 0)

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Any]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        return split_batch(*self.fetch(indices))

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a batch at once; shapes as :func:`fetch_batch`."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return self._normalise(self.images[index]), _widen(self.labels[index])

    def _normalise(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).mul_(self._scale).add_(self._shift)


class DatasetView(Dataset[tuple[Any, Any]]):
    """Some of the samples of a dataset, in an order of their own.

    Args:
        dataset: The whole.
        indices: Positions of this view's samples in the whole.
    """

    def __init__(self, dataset: ImageDataset, indices: np.typing.NDArray[np.int64]) -> None:
        """Keep both; nothing is copied."""
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        """Return the number of samples of the view."""
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return a sample and its target, a class as an int."""
        samples, targets = self.fetch([index])
        return split_batch(samples, targets)[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        return split_batch(*self.fetch(indices))

    def fetch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """Return a batch at once; shapes as :func:`fetch_batch`."""
        return fetch_batch(
            self.dataset, self.indices[np.asarray(indices, dtype=np.int64)].tolist()
        )


def resize_bytes(images: Tensor, size: int | None) -> Tensor:
    """Resize pictures held as bytes to a square.

    Args:
        images: ``n x channels x height x width``, uint8.
        size: Height and width to give them, in pixels, or None to leave them.

    Returns:
        ``n x channels x size x size``, uint8 (bilinear, with antialiasing).

    Raises:
        ConfigError: If so many pictures of that size are more than 64 GiB.
    """
    if size is None or images.shape[-2:] == (size, size):
        return images
    limit = math.isqrt(_MAX_BYTES // (images.shape[0] * images.shape[1]))
    if size > limit:
        raise ConfigError(
            f"data.image_size must be <= {limit:,} for {len(images):,} pictures, which are held in "
            f"memory, got {size:,}"
        )
    parts = []
    for chunk in torch.split(images, _CHUNK):
        floats = F.interpolate(
            chunk.to(torch.float32), size=(size, size), mode="bilinear", antialias=True
        )
        parts.append(floats.round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(parts)
