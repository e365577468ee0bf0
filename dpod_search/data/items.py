"""What a user's dataset yields, looked at before it is made a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dpod_search.data.collating import list_tensors
from dpod_search.errors import DataError
from dpod_search.errors import show


def check_items(items: Iterable[tuple[int, Any]], name: str) -> None:
    """Raise unless items of a dataset are samples of one shape with their targets.

    Args:
        items: Each with its index.
        name: What the user calls the dataset, for the message.

    Raises:
        DataError: If not; names the first that is not.
    """
    shape, target_shape = None, None
    for index, item in items:
        shapes = [tuple(tensor.shape) for tensor in _read_sample(item, name, index)]
        shape = shapes if shape is None else shape
        if shapes != shape:
            raise DataError(
                f"{name} must yield samples of one shape, got {_spell(shapes)} at index {index}, "
                f"not {_spell(shape)}; resize or pad them in the dataset"
            )
        got = _read_target_shape(item[1], name, index)
        target_shape = got if target_shape is None else target_shape
        if got != target_shape:
            raise DataError(
                f"{name} must yield targets of one shape, got {got} at index {index}, not "
                f"{target_shape}; make them alike in the dataset"
            )


def _read_sample(item: Any, name: str, index: int) -> list[Tensor]:
    """Return the tensors of an item's sample."""
    is_pair = isinstance(item, tuple | list) and len(item) == 2
    sample = item[0] if is_pair else item
    try:
        tensors = list_tensors(sample)
    except TypeError:
        tensors = []
    odd = [tensor for tensor in tensors if not _is_usable(tensor)]
    if is_pair and tensors and not odd:
        return tensors
    shown = odd[0] if odd else sample
    got = f"{shown.dtype} {tuple(shown.shape)}" if isinstance(shown, Tensor) else type(shown)
    raise DataError(
        f"{name} must yield (float32 tensor channels x height x width, int), or another tensor of "
        f"float32 or int64, or several in a tuple or dictionary, and its target, got {got} at index "
        f"{index}; convert it in the dataset's transform"
    )


def _is_usable(tensor: Tensor) -> bool:
    # Bytes are pictures that nobody normalised, and nets have float32 weights.
    return tensor.dtype not in (torch.uint8, torch.float64) and not tensor.is_complex()


def _read_target_shape(target: Any, name: str, index: int) -> tuple[int, ...]:
    """Return the shape of a target, () for a number."""
    try:
        return tuple(torch.as_tensor(target).shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} must yield whole numbers as labels, or tensors as targets, got "
            f"{show(target)} at index {index}; give the number of the class"
        ) from error


def _spell(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))
