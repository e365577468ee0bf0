"""How pictures become a model's input, as far as their source says it."""

from __future__ import annotations

from typing import Any

import torch

from dpod_search.data import ImageDataset
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import InMemoryImages


_DIGITS_PEAK = 16.0
_BYTE_PEAK = 255.0


def describe_input(dataset: ImageDataset, *, source: str) -> dict[str, Any]:
    """Say how pictures are normalised.

    Args:
        dataset: A split of the source.
        source: The source's name in the study.

    Returns:
        JSON values: ``peak``, ``mean`` and ``std`` (a list each, by channel) such that the input
        is ``(pixel / peak - mean) / std``; None each where the source does not say; and ``how``,
        in words.
    """
    while isinstance(dataset, DatasetView):
        dataset = dataset.dataset
    if isinstance(dataset, InMemoryImages):
        return _describe_bytes(dataset, source)
    steps = getattr(getattr(dataset, "transform", None), "transforms", ())
    for step in steps:
        # Others have a mean and a deviation too: those of the noise that they add, for instance.
        if type(step).__name__ == "Normalize":
            mean, std = (torch.as_tensor(v).flatten().tolist() for v in (step.mean, step.std))
            return _say(_BYTE_PEAK, mean, std)
    return {
        "peak": None,
        "mean": None,
        "std": None,
        "how": f"float32 exactly as {source} yields them",
    }


def _describe_bytes(dataset: InMemoryImages, source: str) -> dict[str, Any]:
    # What is kept is one factor and one summand a channel; a user's own source may have any peak.
    known = {"digits": _DIGITS_PEAK, "fashion_mnist": _BYTE_PEAK, "cifar10": _BYTE_PEAK}
    peak = known.get(source, 1.0)
    scale, shift = dataset._scale.flatten(), dataset._shift.flatten()
    std = [round(1 / (peak * float(s)), 6) for s in scale]
    mean = [round(-float(b) / (peak * float(s)), 6) for b, s in zip(shift, scale, strict=True)]
    return _say(peak, mean, std)


def _say(peak: float, mean: list[float], std: list[float]) -> dict[str, Any]:
    how = f"(pixel / {peak:g} - {_round(mean)}) / {_round(std)}, by channel, as float32"
    return {"peak": peak, "mean": mean, "std": std, "how": how}


def _round(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
