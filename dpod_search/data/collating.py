"""Items of a dataset made into a batch, and taken out of one again.

A sample is a tensor, or a tuple, list, dictionary or dataclass of such; a target is a number or a
tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def collate(items: Sequence[Any]) -> Any:
    """Lay equal things on top of each other.

    Args:
        items: Tensors of one shape, numbers, or tuples, lists, dictionaries or dataclasses of
            such, at least one.

    Returns:
        One of the same form, with tensors of one axis more, the first. Whole numbers become int64
        and others float32; a list becomes a tuple.

    Raises:
        TypeError: If they are none of these.
        ValueError: If they differ in form.
        RuntimeError: If tensors differ in shape.
    """
    first = items[0]
    if isinstance(first, Tensor):
        return torch.stack(list(items))
    if isinstance(first, Mapping):
        _check_alike([tuple(item) for item in items])
        return {key: collate([item[key] for item in items]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(collate(column) for column in zip(*items, strict=True))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        columns = {name: collate([getattr(item, name) for item in items]) for name in names}
        return dataclasses.replace(first, **columns)
    return _collate_numbers(items)


def split_batch(samples: Any, targets: Tensor) -> list[tuple[Any, Any]]:
    """Take a batch apart, as PyTorch's own loader wants its items.

    Args:
        samples: As from :func:`collate`.
        targets: With a sample a row.

    Returns:
        Pairs of a sample and its target: a number where the targets have one axis.
    """
    pairs = enumerate(targets.tolist() if targets.ndim == 1 else targets)
    return [(_take(samples, index), target) for index, target in pairs]


def read_target(targets: Tensor, index: int) -> Any:
    """Return one target: a number where they have one axis, else a tensor."""
    return targets[index].item() if targets.ndim == 1 else targets[index]


def list_tensors(sample: Any) -> list[Tensor]:
    """Return the tensors that a sample or a batch of them is made of, in their order.

    Raises:
        TypeError: If there is anything else in it.
    """
    if isinstance(sample, Tensor):
        return [sample]
    if dataclasses.is_dataclass(sample) and not isinstance(sample, type):
        parts: Sequence[Any] = [getattr(sample, f.name) for f in dataclasses.fields(sample)]
    elif isinstance(sample, Mapping):
        parts = list(sample.values())
    elif isinstance(sample, tuple | list):
        parts = sample
    else:
        raise TypeError(f"a {type(sample).__name__} is no tensor")
    return [tensor for part in parts for tensor in list_tensors(part)]


def _take(batch: Any, index: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[index]
    if isinstance(batch, Mapping):
        return {key: _take(part, index) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_take(part, index) for part in batch)
    names = [field.name for field in dataclasses.fields(batch)]
    parts = {name: _take(getattr(batch, name), index) for name in names}
    return dataclasses.replace(batch, **parts)


def _collate_numbers(items: Sequence[Any]) -> Tensor:
    made = torch.as_tensor(np.asarray(items))
    return made.to(torch.float32 if made.is_floating_point() else torch.int64)


def _check_alike(keys: Sequence[tuple[Any, ...]]) -> None:
    if len({frozenset(names) for names in keys}) > 1:
        raise ValueError(f"items have different keys: {sorted({*map(str, keys)})}")
