"""Pictures from a user's own function, named by import path."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dpod_search.data.datasets import ImageDataset
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import IntArray
from dpod_search.data.source import hash_tensors
from dpod_search.errors import DataError
from dpod_search.files import hash_value
from dpod_search.imports import call_with
from dpod_search.imports import import_object


# Pictures of an imported dataset that stand for all of them in its hash.
_N_HASHED = 16


def load_imported(path: str, settings: DataSettings) -> DataSource:
    """Call a user's function for the pictures.

    Args:
        path: ``package.module:function``. The function returns a :class:`DataSource`, or a tuple
            (train dataset, test dataset or None, number of classes); the datasets are map-style
            and yield (float32 tensor ``channels x height x width``, int).
        settings: ``arguments`` are passed to the function, by keyword.

    Returns:
        The source.

    Raises:
        ConfigError: If the function cannot be imported or does not take the arguments.
        DataError: If it returns something else, or a label lies outside [0, n_classes).
    """
    returned = call_with(import_object(path), settings.arguments, name=path)
    if isinstance(returned, DataSource):
        return returned
    if not isinstance(returned, tuple) or len(returned) != 3:
        raise DataError(
            f"{path} must return a DataSource or (train, test or None, n_classes), "
            f"got a {type(returned).__name__}"
        )
    train, test, n_classes = returned
    if not isinstance(n_classes, int) or n_classes < 2:
        raise DataError(f"{path}: the third value, n_classes, must be >= 2, got {n_classes!r}")
    train_labels = _read_labels(train, n_classes, f"{path}: the training set")
    test_labels = None
    if test is not None:
        test_labels = _read_labels(test, n_classes, f"{path}: the test set")
    names = tuple(str(index) for index in range(n_classes))
    parts = [_hash_dataset(train), "" if test is None else _hash_dataset(test)]
    content = hash_value([path, repr(sorted(settings.arguments.items())), *parts])
    return DataSource(train, train_labels, n_classes, names, content, test, test_labels)


def _read_labels(dataset: Any, n_classes: int, name: str) -> IntArray:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{name} must have a length and indices, got a {type(dataset).__name__}")
    if len(dataset) == 0:
        raise DataError(f"{name} is empty")
    _check_item(dataset[0], name)
    targets = getattr(dataset, "targets", None)
    if isinstance(dataset, TensorDataset):
        targets = dataset.tensors[1]
    if targets is None or len(targets) != len(dataset):
        targets = [int(dataset[index][1]) for index in range(len(dataset))]
    labels = np.asarray(targets, dtype=np.int64)
    if labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(
            f"{name}: labels must lie in [0, {n_classes}), got {labels.min()} to {labels.max()}"
        )
    return labels


def _check_item(item: Any, name: str) -> None:
    is_pair = isinstance(item, tuple | list) and len(item) == 2
    image = item[0] if is_pair else item
    is_image = isinstance(image, Tensor) and image.ndim == 3 and image.dtype == torch.float32
    if not (is_pair and is_image):
        got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image)
        raise DataError(
            f"{name} must yield (float32 tensor channels x height x width, int), got {got}; "
            "convert it in the dataset's transform"
        )
    try:
        int(item[1])
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} must yield whole numbers as labels, got {item[1]!r}; give the number of "
            "the class"
        ) from error


def _hash_dataset(dataset: ImageDataset) -> str:
    indices = np.unique(np.linspace(0, len(dataset) - 1, _N_HASHED).round().astype(int))
    return hash_tensors(*(dataset[int(index)][0] for index in indices))
