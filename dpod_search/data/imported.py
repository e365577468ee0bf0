"""Samples from a user's own function, named by import path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from dpod_search.data.collating import list_tensors
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.items import check_items
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
    """Call a user's function for the samples.

    Args:
        path: ``package.module:function``. The function returns a :class:`DataSource`, or a tuple
            (train dataset, test dataset or None, n): the datasets are map-style and yield (sample,
            target), and n is how many numbers the model returns for a sample or each place of it.
            Whole numbers are classes in [0, n); floats and tensors are other targets.
        settings: ``arguments`` are passed to the function, by keyword.

    Returns:
        The source.

    Raises:
        ConfigError: If the function cannot be imported or does not take the arguments.
        DataError: If it or a dataset raises an error, it returns something else, or a label lies
            outside [0, n).
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
    is_labelled = _has_labels(train, f"{path}: the training set")
    least = 2 if is_labelled else 1
    if not isinstance(n_classes, int) or n_classes < least:
        raise DataError(
            f"{path}: the third value, n_classes, must be >= {least}, got {n_classes!r}"
            + "; give numbers to be told as floats" * is_labelled
        )
    parts = [
        (dataset, f"{path}: the {kind} set")
        for dataset, kind in ((train, "training"), (test, "test"))
        if dataset is not None
    ]
    labels = [
        _read_labels(dataset, n_classes, name) if is_labelled else None for dataset, name in parts
    ]
    names = tuple(str(index) for index in range(n_classes))
    hashes = [_hash_dataset(dataset, name, is_labelled) for dataset, name in parts]
    hashes += [""] * (test is None)
    content = hash_value([path, repr(sorted(settings.arguments.items())), *hashes])
    return DataSource(train, labels[0], n_classes, names, content, test, (*labels, None)[1])


def _has_labels(dataset: Any, name: str) -> bool:
    """Look at the first item of a dataset: say whether its target is the number of a class."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{name} must have a length and indices, got a {type(dataset).__name__}")
    with own_code(name, DataError):
        if len(dataset) == 0:
            raise DataError(f"{name} is empty")
        item = dataset[0]
        check_items([(0, item)], name)
        target = torch.as_tensor(item[1])
    return target.ndim == 0 and not target.is_floating_point()


def _check_source(source: DataSource, path: str) -> None:
    for dataset, labels, kind in (
        (source.train, source.train_labels, "training"),
        (source.validation, source.validation_labels, "validation"),
        (source.test, source.test_labels, "test"),
    ):
        if dataset is not None and labels is not None:
            name = f"{path}: the {kind} set"
            with own_code(name, DataError):
                _check_labels(labels, len(dataset), source.n_classes, name)


def _read_labels(dataset: Any, n_classes: int, name: str) -> IntArray:
    if not _has_labels(dataset, name):
        raise DataError(f"{name} must have whole numbers as labels, as the training set has")
    with own_code(name, DataError):
        n_images = len(dataset)
        targets = getattr(dataset, "targets", None)
        if isinstance(dataset, TensorDataset):
            targets = dataset.tensors[1]
        if targets is None or len(targets) != n_images:
            targets = list(_read_each(dataset, name))
    return _check_labels(targets, n_images, n_classes, name)


def _read_each(dataset: Any, name: str) -> Iterator[int]:
    first = dataset[0]
    for index in range(len(dataset)):
        item = first if index == 0 else dataset[index]
        check_items([(0, first), (index, item)], name)
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


def _hash_dataset(dataset: ImageDataset, name: str, is_labelled: bool) -> str:
    indices = np.unique(np.linspace(0, len(dataset) - 1, _N_HASHED).round().astype(int))
    with own_code(name, DataError):
        items = [(int(index), dataset[int(index)]) for index in indices]
    check_items(items, name)
    tensors = [tensor for _, (sample, _) in items for tensor in list_tensors(sample)]
    if not is_labelled:  # labels are hashed where they are split
        tensors += [torch.as_tensor(target) for _, (_, target) in items]
    return hash_tensors(*tensors)
