"""A study's model and its supernet, made of its settings and its data."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch import nn

from dpod_search.config import StudyConfig
from dpod_search.data import DataSplits
from dpod_search.inputs import Example
from dpod_search.inputs import Samples
from dpod_search.models import build_model
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import import_handlers


_logger = logging.getLogger(__name__)


def build_study(config: StudyConfig, data: DataSplits) -> Supernet:
    """Build the model of a study with its initial weights, and make it a supernet.

    Args:
        config: The study.
        data: Its data.

    Raises:
        ConfigError: If the model cannot be built, or does not take the samples.
        CheckpointError: If weights cannot be read.
        GroupingError: If the model cannot be made a supernet.
    """
    is_usual = config.task.is_default and len(data.input_shape) == 3 and _is_float(data.example)
    model = build_model(
        config.model,
        input_shape=data.input_shape,
        n_classes=data.n_classes,
        seed=config.seed,
        example=None if is_usual else data.example,
    )
    return make_supernet(config, model, make_example(config, data))


def make_example(config: StudyConfig, data: DataSplits) -> Example:
    """Return two samples that a study's model is called with.

    Numbers are drawn, for a sample that holds NaN is the training's to complain about. Tokens, and
    several inputs, are the first ones of the data.
    """
    if not _is_float(data.example):
        return data.example
    return draw_samples(config.seed, data.input_shape)


def _is_float(samples: Samples) -> bool:
    return isinstance(samples, Tensor) and samples.dtype == torch.float32


def draw_samples(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Return two samples of a shape that are as good as any, (2, *shape)."""
    return torch.randn((2, *shape), generator=torch_generator(seed, "example"))


def make_supernet(
    config: StudyConfig,
    model: nn.Module,
    example: Example,
) -> Supernet:
    """Make the supernet of a study's model, as its settings say.

    Args:
        config: The study.
        model: The model.
        example: What the model is called with.

    Raises:
        GroupingError: If the model cannot be made a supernet.
    """
    supernet = build_supernet(
        model,
        example,
        ratios=config.supernet.ratios,
        multiple=config.supernet.multiple,
        removes_blocks=config.supernet.removes_blocks,
        handlers=import_handlers(config.supernet.handlers),
    )
    out_of_order = [group.name for group in supernet.groups if group.out_of_order]
    if config.model.is_trained and out_of_order:
        _logger.warning(
            "model.weights: %s apply their weights to other channels when they are narrower (inspect "
            "says why): a subnet has little of what was learnt before the supernet is trained%s",
            ", ".join(out_of_order),
            "" if config.training.epochs else "; set training.epochs to train it",
        )
    return supernet
