"""Pictures from a user's own function, named by import path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import TensorDataset

from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import check_items
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import IntArray
from dpod_search.data.source import hash_tensors
from dpod_search.errors import DataError
from dpod_search.files import hash_value
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.own_code import own_code


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
        DataError: If it or a dataset raises an error, it returns something else, or a label lies
            outside [0, n_classes).
    """
    with own_code(path, DataError):
        returned = call_with(import_object(path), settings.arguments, name=path)
    if isinstance(returned, DataSource):
        _check_source(returned, path)
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
    parts = [
        "" if dataset is None else _hash_dataset(dataset, f"{path}: the {kind} set")
        for dataset, kind in ((train, "training"), (test, "test"))
    ]
    content = hash_value([path, repr(sorted(settings.arguments.items())), *parts])
    return DataSource(train, train_labels, n_classes, names, content, test, test_labels)


def _check_source(source: DataSource, path: str) -> None:
    for dataset, labels, kind in (
        (source.train, source.train_labels, "training"),
        (source.validation, source.validation_labels, "validation"),
        (source.test, source.test_labels, "test"),
    ):
        if dataset is not None:
            name = f"{path}: the {kind} set"
            with own_code(name, DataError):
                _check_labels(labels, len(dataset), source.n_classes, name)


def _read_labels(dataset: Any, n_classes: int, name: str) -> IntArray:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{name} must have a length and indices, got a {type(dataset).__name__}")
    with own_code(name, DataError):
        n_images = len(dataset)
        if n_images == 0:
            raise DataError(f"{name} is empty")
        check_items([(0, dataset[0])], name)
        targets = getattr(dataset, "targets", None)
        if isinstance(dataset, TensorDataset):
            targets = dataset.tensors[1]
        if targets is None or len(targets) != n_images:
            targets = list(_read_each(dataset, name))
    return _check_labels(targets, n_images, n_classes, name)


def _read_each(dataset: Any, name: str) -> Iterator[int]:
    shape = tuple(dataset[0][0].shape)
    for index in range(len(dataset)):
        item = dataset[index]
        check_items([(index, item)], name, shape)
        yield int(item[1])


def _check_labels(targets: Any, n_images: int, n_classes: int, name: str) -> IntArray:
    try:
        labels = np.asarray(targets, dtype=np.int64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} must have whole numbers as labels ({error}); give the number of the class"
        ) from error
    if labels.shape != (n_images,):
        raise DataError(f"{name} has {n_images} pictures, but labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(
            f"{name}: labels must lie in [0, {n_classes}), got {labels.min()} to {labels.max()}"
        )
    return labels


def _hash_dataset(dataset: ImageDataset, name: str) -> str:
    indices = np.unique(np.linspace(0, len(dataset) - 1, _N_HASHED).round().astype(int))
    with own_code(name, DataError):
        items = [(int(index), dataset[int(index)]) for index in indices]
    check_items(items, name)
    return hash_tensors(*(image for _, (image, _) in items))
