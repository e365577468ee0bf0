"""A class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from dpod_search.tasks.classes import ClassTally
from dpod_search.tasks.classes import ClassTask
from dpod_search.tasks.classes import Flattening
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.task import Metric


@dataclass(frozen=True)
class Segmentation(ClassTask):
    """Logits (N, classes, H, W), integer masks (N, H, W); cross-entropy of the pixels.

    Args:
        ignored: Class of pixels that neither loss nor metrics look at. Masks of 0 and 255 have one
            class then; give them as 0 and 1, or as truth values.
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.

    References:
        Everingham et al.: The PASCAL Visual Object Classes Challenge, 2015, section 4.3:
        intersection over union of each class over all pictures at once, then their mean, here over
        the classes that occur in masks or answers.
    """

    ignored: int = 255

    name: ClassVar[str] = "segmentation"
    shape: ClassVar[str] = "(N, classes, H, W)"
    axis: ClassVar[int] = 1
    n_axes: ClassVar[int] = 4
    metrics: TakenMetrics = field(
        default=TakenMetrics(
            Metric("mean_iou", "maximize", high=1.0),
            Metric("pixel_accuracy", "maximize", high=1.0),
        ),
        kw_only=True,
        repr=False,
    )

    def make_tally(self) -> PixelTally:
        """Return a tally of the pixels of each class."""
        return PixelTally(self)


class PixelTally(ClassTally):
    """Counts pixels by the class that they have and the one that they are given.

    Args:
        task: Tells which pixels are looked at.
    """

    def __init__(self, task: Flattening) -> None:
        """Have seen nothing."""
        super().__init__(task)
        self._confusion: Tensor | None = None

    def count(self, chosen: Tensor, classes: Tensor, n_classes: int) -> None:
        """Count pixels by both."""
        super().count(chosen, classes, n_classes)
        shape = (n_classes, n_classes + 1)
        pairs = classes * shape[1] + chosen
        counts = torch.bincount(pairs, minlength=shape[0] * shape[1]).view(shape).cpu()
        self._confusion = counts if self._confusion is None else self._confusion + counts

    def measure(self) -> dict[str, float]:
        """Return mean intersection over union, and the share of pixels that are right."""
        accuracy = super().measure()["accuracy"]
        assert self._confusion is not None  # else there was nothing to measure
        confusion = self._confusion.double()
        both = confusion.diagonal()
        either = confusion.sum(0)[:-1] + confusion.sum(1) - both
        iou = float((both / either)[either > 0].mean())
        return {"mean_iou": iou, "pixel_accuracy": accuracy}
