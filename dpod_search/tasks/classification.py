"""Telling one class a sample: the task that is trained and searched where none is named."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.tasks.batches import find_answer
from dpod_search.tasks.classes import INTEGERS
from dpod_search.tasks.classes import ClassTally
from dpod_search.tasks.classes import compute_divergence
from dpod_search.tasks.classes import log_likelihood
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.outside import TakesMetrics
from dpod_search.tasks.task import Metric


@dataclass(frozen=True)
class Classification(TakesMetrics):
    """One class for each sample: logits (N, classes), integer targets (N,); cross-entropy.

    Args:
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.
    """

    name: ClassVar[str] = "classification"
    metrics: TakenMetrics = field(
        default=TakenMetrics(Metric("accuracy", "maximize", high=1.0)), kw_only=True, repr=False
    )

    def check_outputs(self, outputs: object, n_samples: int | None = None) -> Tensor:
        """Return logits (N, classes)."""
        return check_scores(outputs, n_samples)

    def check_targets(self, targets: object, outputs: Tensor) -> Tensor:
        """Return classes (N,), int64."""
        return check_labels(targets, *outputs.shape)

    def compute_loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def distill(
        self,
        outputs: Tensor,
        full_outputs: Tensor,
        temperature: float = 1.0,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return the mean Kullback-Leibler divergence over samples."""
        return compute_divergence(outputs, full_outputs, temperature)

    def flatten(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are: a sample is a place."""
        return outputs, targets

    def compare(
        self, outputs: Tensor, targets: Tensor, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (N, classes), and the classes."""
        return log_likelihood(outputs, targets, axis=1)

    def make_tally(self) -> ClassTally:
        """Return a tally of right answers and of confidence."""
        return ClassTally(self)


def check_scores(scores: object, n_samples: int | None = None) -> Tensor:
    """Return what a model answered, if it is one logit a class for each sample.

    Args:
        scores: What the model returned; of a dictionary what it calls ``logits`` or ``out``.
        n_samples: Samples that it was given; None where that is not known.

    Returns:
        The scores, shape (N, classes).

    Raises:
        ConfigError: If they are anything else: maps, one number a sample, several tensors.
    """
    scores = find_answer(scores)
    if isinstance(scores, Tensor):
        got = f"tensor of shape {tuple(scores.shape)}"
        if scores.ndim == 2 and n_samples in (None, len(scores)):
            return scores
    else:
        got = type(scores).__name__
    raise ConfigError(
        "training and accuracy are those of classifiers: the model must return one logit a class, "
        f"shape ({'N' if n_samples is None else n_samples}, classes), got a {got}; name "
        "another task (docs/tasks.md), wrap it in a module that returns the logits alone, or search "
        "with an objective of your own"
    )


def check_labels(labels: object, n_samples: int, n_classes: int | None = None) -> Tensor:
    """Return the labels of a batch, if they are one class a sample.

    Args:
        labels: What came with the samples.
        n_samples: Samples of the batch.
        n_classes: Classes that the model tells apart; None where that is not known yet.

    Returns:
        The labels, shape (N,), int64.

    Raises:
        DataError: If they are anything else: maps, shares of classes, numbers that are no class.
    """
    below = "" if n_classes is None else f" from 0 to {n_classes - 1}, the model's classes"
    wanted = f"labels must be integers of shape ({n_samples},) for {n_samples} samples{below}"
    fix = "mend the loader or the model's number of classes, or name another task (docs/tasks.md)"
    if not isinstance(labels, Tensor):
        raise DataError(f"{wanted}, got a {type(labels).__name__}; {fix}")
    if labels.shape != (n_samples,) or labels.dtype not in INTEGERS:
        got = f"a tensor of shape {tuple(labels.shape)} and type {labels.dtype}"
        raise DataError(f"{wanted}, got {got}; {fix}")
    if n_classes is not None and n_samples > 0:
        lowest, highest = torch.stack(labels.aminmax()).tolist()
        if lowest < 0 or highest >= n_classes:
            raise DataError(f"{wanted}, got {lowest if lowest < 0 else highest}; {fix}")
    return labels.to(torch.int64)
