"""What a training asks of a loader: its batches and pictures in an epoch, and to begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from typing import runtime_checkable

from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.errors import DataError
from dpod_search.inputs import count_samples
from dpod_search.tasks.batches import read_batch


@runtime_checkable
class PositionedLoader(Protocol):
    """A loader whose batches are a function of epoch and number, as ``SeededLoader``'s are."""

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Choose the batch to go on with."""

    def __len__(self) -> int:
        """Return the batches of an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from the position to the end of its epoch."""


def rewind(loader: Batches) -> None:
    """Bring a loader that knows its position back to the first batch, as in a new process."""
    if isinstance(loader, PositionedLoader):
        loader.set_position(0, 0)


def count_batches(loader: Batches) -> int:
    """Return the number of batches of an epoch.

    Raises:
        DataError: If it has no length or none.
    """
    try:
        n_batches = len(loader)  # type: ignore[arg-type]  # most loaders have a length
    except TypeError as error:
        raise DataError(
            "the training loader has no length; give a DataLoader or a list of batches"
        ) from error
    if n_batches == 0:
        raise DataError("the training loader is empty; lower batch_size or give more pictures")
    return n_batches


def count_images(loader: Batches, n_ranks: int = 1) -> int:
    """Return the number of pictures of an epoch, or a little less where a loader does not tell.

    Args:
        loader: Of this rank, not empty; one that tells nothing is asked for its first batch.
        n_ranks: Ranks that have such a loader.
    """
    n_images = getattr(loader, "n_images", None)
    if isinstance(n_images, int):
        return n_images
    if isinstance(loader, list | tuple):
        return n_ranks * sum(count_samples(read_batch(batch)[0]) for batch in loader)
    n_batches = count_batches(loader)
    size = getattr(loader, "batch_size", None)
    if not isinstance(size, int):
        size = count_samples(read_batch(next(iter(loader)))[0])
    is_even = getattr(loader, "drop_last", False)
    return n_ranks * (n_batches * size if is_even else (n_batches - 1) * size + 1)
