"""Datasets that can fetch a whole batch at once, and views of a part of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.own_code import own_code


# Pictures resized or hashed at a time, so that a large set needs little memory beside itself.
_CHUNK = 4096
_MAX_BYTES = 2**36  # of all pictures of a set in memory


@runtime_checkable
class ImageDataset(Protocol):
    """A map-style dataset of (picture, label): float32 ``channels x height x width`` and an int."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def __getitem__(self, index: int, /) -> Any:
        """Return a picture, normalised, and its label."""


@runtime_checkable
class BatchFetcher(Protocol):
    """A dataset that has a quicker way to a batch than picture by picture."""

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the pictures (``batch x C x H x W``) and labels (``batch``) at indices."""


def fetch_batch(dataset: ImageDataset, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Fetch a batch the quickest way the dataset has.

    Args:
        dataset: Any map-style dataset of pictures and labels.
        indices: Positions in the dataset, at least one.

    Returns:
        Pictures ``batch x channels x height x width``, float32, and labels ``batch``, int64.

    Raises:
        DataError: If a user's dataset raises an error, or yields what cannot be a batch.
    """
    with own_code("the dataset", DataError, called=dataset):
        if isinstance(dataset, BatchFetcher):
            return dataset.fetch(indices)
        many = getattr(dataset, "__getitems__", None)
        items = many(list(indices)) if many is not None else [dataset[int(i)] for i in indices]
    try:
        images = torch.stack([item[0] for item in items])
        return images, torch.tensor([int(item[1]) for item in items], dtype=torch.int64)
    except Exception:
        check_items(zip(indices, items, strict=False), "the dataset")
        raise


def check_items(
    items: Iterable[tuple[int, Any]], name: str, shape: tuple[int, ...] | None = None
) -> None:
    """Raise unless items of a dataset are pictures of one shape with their labels.

    Args:
        items: Each with its index.
        name: What the user calls the dataset, for the message.
        shape: Channels, height and width to expect; those of the first item if None.

    Raises:
        DataError: If not; names the first that is not.
    """
    for index, item in items:
        is_pair = isinstance(item, tuple | list) and len(item) == 2
        image = item[0] if is_pair else item
        is_image = isinstance(image, Tensor) and image.ndim == 3 and image.dtype == torch.float32
        if not (is_pair and is_image):
            got = (
                f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image)
            )
            raise DataError(
                f"{name} must yield (float32 tensor channels x height x width, int), got {got} at "
                f"index {index}; convert it in the dataset's transform"
            )
        shape = shape or tuple(image.shape)
        if image.shape != shape:
            raise DataError(
                f"{name} must yield pictures of one shape, got {tuple(image.shape)} at index "
                f"{index}, not {shape}; resize them in the dataset's transform"
            )
        try:
            int(item[1])
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{name} must yield whole numbers as labels, got {item[1]!r} at index {index}; "
                "give the number of the class"
            ) from error


class InMemoryImages(Dataset[tuple[Tensor, int]]):
    """Pictures held as bytes and normalised when they are fetched.

    Args:
        images: ``n x channels x height x width``, uint8.
        labels: ``n`` classes, int64.
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

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a normalised picture and its label."""
        return self._normalise(self.images[index]), int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        images, labels = self.fetch(indices)
        return list(zip(images, labels.tolist(), strict=True))

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a batch at once; shapes as :func:`fetch_batch`."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return self._normalise(self.images[index]), self.labels[index]

    def _normalise(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).mul_(self._scale).add_(self._shift)


class DatasetView(Dataset[tuple[Tensor, int]]):
    """Some of the pictures of a dataset, in an order of their own.

    Args:
        dataset: The whole.
        indices: Positions of this view's pictures in the whole.
    """

    def __init__(self, dataset: ImageDataset, indices: np.typing.NDArray[np.int64]) -> None:
        """Keep both; nothing is copied."""
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        """Return the number of pictures of the view."""
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a picture and its label."""
        image, label = self.dataset[int(self.indices[index])]
        return image, int(label)

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        images, labels = self.fetch(indices)
        return list(zip(images, labels.tolist(), strict=True))

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
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
