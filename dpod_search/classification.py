"""What training and accuracy take: one logit a class, and one class a sample."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_scores(scores: object, n_samples: int | None = None) -> Tensor:
    """Return what a model answered, if it is one logit a class for each sample.

    Args:
        scores: What the model returned.
        n_samples: Samples that it was given; None where that is not known.

    Returns:
        The scores, shape (N, classes).

    Raises:
        ConfigError: If they are anything else: maps, one number a sample, several tensors.
    """
    if isinstance(scores, Tensor):
        got = f"tensor of shape {tuple(scores.shape)}"
        if scores.ndim == 2 and n_samples in (None, len(scores)):
            return scores
    else:
        got = type(scores).__name__
    raise ConfigError(
        "training and accuracy are those of classifiers: the model must return one logit a class, "
        f"shape ({'N' if n_samples is None else n_samples}, classes), got a {got}; wrap it in a "
        "module that returns the logits alone, or search with an objective of your own"
    )


def check_samples(samples: object) -> None:
    """Raise if the samples of a batch are several inputs, a tuple or a dictionary of them.

    Raises:
        DataError: If they are.
    """
    if isinstance(samples, tuple | list | Mapping):
        raise DataError(
            "a batch must be (samples, labels), the samples one tensor: training and accuracy give "
            f"a model one input; got a {type(samples).__name__} of {len(samples)}: wrap the model "
            "in a module that takes its inputs in one tensor, or search with an objective of your "
            "own"
        )


def check_pair(batch: object) -> None:
    """Raise if a batch is no pair, as a loader of the user's may give it; errors as above."""
    if isinstance(batch, Mapping) or (isinstance(batch, tuple | list) and len(batch) != 2):
        check_samples(batch)


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
    fix = "mend the loader, or the model's number of classes"
    if not isinstance(labels, Tensor):
        raise DataError(f"{wanted}, got a {type(labels).__name__}; {fix}")
    if labels.shape != (n_samples,) or labels.dtype not in _INTEGERS:
        got = f"a tensor of shape {tuple(labels.shape)} and type {labels.dtype}"
        raise DataError(f"{wanted}, got {got}; {fix}")
    if n_classes is not None and n_samples > 0:
        lowest, highest = torch.stack(labels.aminmax()).tolist()
        if lowest < 0 or highest >= n_classes:
            raise DataError(f"{wanted}, got {lowest if lowest < 0 else highest}; {fix}")
    return labels.to(torch.int64)


def move_labels(labels: Tensor, device: torch.device) -> Tensor:
    """Move labels to a device; what is no tensor stays, for :func:`check_labels` to refuse.

    A loader may give anything, and what the model answers is looked at first.
    """
    given: object = labels
    return labels.to(device) if isinstance(given, Tensor) else labels
