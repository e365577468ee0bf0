"""What a source of samples hands over, before anything is split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpod_search.data.datasets import ImageDataset


IntArray = npt.NDArray[np.int64]


MOST_NAMES = 1000  # of classes or tokens that are listed one by one


@dataclass(frozen=True, eq=False)
class DataSource:
    """The samples of one source, pictures or any others.

    Args:
        train: Samples to split into training and calibration (and validation and test, if need
            be).
        train_labels: Their classes, in [0, ``n_classes``), in the same order; None where a sample
            has no class but a mask, numbers or tokens: they are split at random then.
        n_classes: Numbers that the model returns for a sample, or for each place of it: classes,
            labels, targets, tokens.
        class_names: A name for each of them, or none.
        content_hash: Stands for the samples themselves, and for their targets where there are no
            labels: changes when they do.
        test: The source's own test set, or None.
        test_labels: Its classes, or None.
        validation: The source's own validation set, or None.
        validation_labels: Its classes, or None.
    """

    train: ImageDataset
    train_labels: IntArray | None
    n_classes: int
    class_names: tuple[str, ...]
    content_hash: str
    test: ImageDataset | None = None
    test_labels: IntArray | None = None
    validation: ImageDataset | None = None
    validation_labels: IntArray | None = None


def hash_tensors(*tensors: Tensor) -> str:
    """Return the SHA-256 of tensors: their types, shapes and bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
