"""What an exported file gives on pictures, as against what the front says of its model."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpod_search.errors import ExportError
from dpod_search.tasks.classification import check_labels
from dpod_search.tasks.classification import check_scores


@dataclass(frozen=True)
class Score:
    """How a model does on some pictures.

    Args:
        n_right: Pictures it gets right.
        n_images: All of them.
        n_draws: Pictures whose two largest logits are as near as rounding may move them.
    """

    n_right: int
    n_images: int
    n_draws: int

    @property
    def accuracy(self) -> float:
        """Share of the pictures that it gets right, in [0, 1]."""
        return self.n_right / self.n_images


def count_right(
    model: Callable[[Tensor], Any],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    tolerance: float,
) -> Score:
    """Count the pictures that a reloaded model gets right, on the CPU.

    Args:
        model: Takes pictures, returns logits.
        batches: Pictures with labels.
        tolerance: Two logits nearer than this, relative to the largest, are a draw.
    """
    n_right = n_images = n_draws = 0
    with torch.inference_mode():
        for images, labels in batches:
            logits = check_scores(model(images.cpu()), len(images))
            there = check_labels(labels, *logits.shape).cpu()
            n_right += int((logits.argmax(1) == there).sum())
            n_images += len(labels)
            best = logits.topk(min(2, logits.shape[1]), dim=1).values
            gap = (best[:, 0] - best[:, -1]) / logits.abs().amax().clamp(min=1e-12)
            n_draws += int((gap <= 2 * tolerance).sum())  # both may move
    return Score(n_right, n_images, n_draws)


def check_delivered(count: Score, *, stated: float, file: str, split: str = "test") -> None:
    """See that a file gives the accuracy that the front states.

    Args:
        count: What the file gives.
        stated: Accuracy of the model in ``front.json``, in [0, 1].
        file: For the message.
        split: Whose pictures they are, for the message.

    Raises:
        ExportError: If a picture more or less is right than stated, draws aside: what was scored
            is not what would be delivered.
    """
    n_stated = round(stated * count.n_images)
    if abs(count.n_right - n_stated) > count.n_draws:
        raise ExportError(
            f"{file} gets {count.n_right} of {count.n_images} {split} pictures right, and "
            f"front.json says {n_stated}: what was scored is not what would be delivered (stale BatchNorm "
            "statistics, or a file of another model); delete its folder in finetuned/ and run the "
            "same command again"
        )
