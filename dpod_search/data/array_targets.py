"""What the targets of an array file mean, by their type and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpod_search.data.source import MOST_NAMES
from dpod_search.data.source import IntArray
from dpod_search.errors import DataError
from dpod_search.escaping import spell_name


Array = npt.NDArray[np.generic]

_IGNORED = (255, -100)  # by the tasks' own defaults


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of all parts.

    Args:
        tensors: By part, a sample a row: int64, masks as bytes, or float32.
        labels: By part, where samples have classes; else empty.
        n_outputs: Numbers that a model returns for a sample, or a place of it.
    """

    tensors: Mapping[str, Tensor]
    labels: Mapping[str, IntArray]
    n_outputs: int

    @property
    def is_named(self) -> bool:
        """Whether there are so few outputs that each has its number as a name."""
        return self.n_outputs <= MOST_NAMES


def read_targets(
    parts: Mapping[str, Array], x: Array, ignored: int | None, outputs: int | None, path: Path
) -> Targets:
    """Read the targets of a file.

    Args:
        parts: Targets by part, all of one type, ``train`` among them.
        x: The training samples.
        ignored: Class of places where nothing is asked; None for those that tasks have.
        outputs: Numbers that a model returns, if the user says so.
        path: The file, for messages.

    Raises:
        DataError: If classes are negative, or beyond the outputs.
    """
    first = parts["train"]
    if first.dtype.kind == "f":
        tensors = {part: torch.from_numpy(y.astype(np.float32)) for part, y in parts.items()}
        return Targets(tensors, {}, outputs or (1 if first.ndim == 1 else first.shape[1]))
    if _are_labels(first, x):
        tensors = {part: torch.from_numpy(y.astype(np.int64)) for part, y in parts.items()}
        return Targets(tensors, {}, outputs or first.shape[1])
    skipped = () if first.ndim == 1 else _IGNORED if ignored is None else (ignored,)
    n_classes = outputs or 1 + max(_find_range(y, skipped)[1] for y in parts.values())
    for part, y in parts.items():
        low, high = _find_range(y, skipped)
        if low < 0 or high >= n_classes:
            raise DataError(
                f"arrays: {spell_name(str(path))}, the {part} part: classes must lie in "
                f"[0, {n_classes}), got {low} to {high}; number them from 0, or name the one that "
                "is not looked at in data.arguments.ignored"
            )
    if first.ndim == 1:
        _check_classes(first, n_classes, path)
    wide = np.uint8 if first.dtype == np.uint8 and first.ndim > 1 else np.int64
    tensors = {part: torch.from_numpy(y.astype(wide)) for part, y in parts.items()}
    labels = {p: t.numpy() for p, t in tensors.items()} if first.ndim == 1 else {}
    return Targets(tensors, labels, n_classes)


def _check_classes(labels: Array, n_classes: int, path: Path) -> None:
    missing = np.setdiff1d(np.arange(n_classes), labels)
    if len(missing):
        raise DataError(
            f"arrays: {spell_name(str(path))}, the train part: of {n_classes} classes none is "
            f"{missing[0]}; number the classes that can be learnt without gaps, and leave "
            "data.arguments.outputs out"
        )


def _are_labels(y: Array, x: Array) -> bool:
    """Say whether rows of whole numbers are labels of a sample, and not a class for each place."""
    return y.ndim == 2 and not (x.ndim <= 3 and x.shape[1] == y.shape[1] and _has_places(x))


def _has_places(x: Array) -> bool:
    # Tokens, or a row of numbers for each place; of one row of numbers no place is asked for.
    return x.ndim == 3 or x.dtype.kind != "f"


def _find_range(y: Array, skipped: tuple[int, ...]) -> tuple[int, int]:
    """Return the lowest and the highest class, 0 and 0 where nothing is asked at all."""
    found = np.setdiff1d(np.unique(y), skipped)
    return (int(found[0]), int(found[-1])) if len(found) else (0, 0)
