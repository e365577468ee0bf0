"""Whether a trained full net is better than one that has learnt nothing."""

from __future__ import annotations

from collections.abc import Mapping

from dpod_search.pipeline.stages.purpose import counts_samples
from dpod_search.quantities import number
from dpod_search.quantities import percent
from dpod_search.tasks import LanguageModel
from dpod_search.tasks import Regression
from dpod_search.tasks import Segmentation
from dpod_search.tasks import Task


# What the mean of the targets leaves unexplained, within this much of all.
_LEAST_R2 = 0.02
# Of the perplexity of a net to which all tokens are equally likely.
_MOST_PERPLEXITY = 0.9


def describe_chance(
    task: Task,
    metrics: Mapping[str, float],
    n_classes: int,
    *,
    noun: str = "picture",
    is_trained: bool = True,
) -> str | None:
    """Say that a full net is hardly better than one that has learnt nothing, or return None.

    Args:
        task: What it was trained for; of other tasks than classification, regression, segmentation
            and language models it is not known what a net gets that has learnt nothing.
        metrics: Of the full net on validation, by name.
        n_classes: Classes, or tokens.
        noun: What one sample is called.
        is_trained: Whether it was trained here; else its weights were given.
    """
    told = None
    # A task that was made of one of these may measure others in place of its metrics.
    r2, mean_iou = metrics.get("r2", 1.0), metrics.get("mean_iou", 1.0)
    perplexity = metrics.get("perplexity", 0.0)
    if counts_samples(task):
        told = _describe_accuracy(metrics["accuracy"], n_classes, noun)
    elif isinstance(task, Regression) and r2 < _LEAST_R2:
        told = (
            f"the full net has an R\u00b2 of {number(r2)} on validation, hardly more than "
            "the mean of the targets, whose is 0"
        )
    elif isinstance(task, Segmentation) and mean_iou <= 1 / n_classes:
        told = (
            f"the full net has a mean IoU of {percent(mean_iou)} on validation; naming one "
            f"of {n_classes} classes everywhere gives up to {percent(1 / n_classes)}"
        )
    elif isinstance(task, LanguageModel) and perplexity > _MOST_PERPLEXITY * n_classes:
        told = (
            f"the full net has a perplexity of {number(perplexity)} on validation, hardly "
            f"less than guessing among {n_classes} tokens"
        )
    if told is None:
        return None
    advice = "change training.lr or training.epochs" if is_trained else "check model.weights"
    return f"{told}; {advice}, or check the {'labels' if counts_samples(task) else 'targets'}"


def _describe_accuracy(accuracy: float, n_classes: int, noun: str) -> str | None:
    guessing = 1 / n_classes
    # Half as much again as by guessing; with two classes that would be far from guessing.
    limit = min(1.5 * guessing, guessing + 0.05 * (1 - guessing))
    if accuracy >= limit:
        return None
    return (
        f"the full net is right on {percent(accuracy)} of the validation {noun}s, hardly more than "
        f"guessing among {n_classes} classes ({percent(guessing)})"
    )
