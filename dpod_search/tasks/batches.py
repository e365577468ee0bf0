"""What a batch is made of, as loaders give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from dpod_search.errors import DataError
from dpod_search.inputs import ModelCall
from dpod_search.inputs import Samples


# What the targets of a batch are called that is a dictionary; the first is transformers'.
TARGETS = ("labels", "label", "targets", "target", "y")


# What a model that answers with a dictionary calls its logits: transformers', torchvision's.
_ANSWERS = ("logits", "out")


def read_batch(batch: object) -> tuple[Samples, Any]:
    """Return the samples and the targets of a batch, as any loader gives it.

    Args:
        batch: A pair of both; or a dictionary or dataclass of tensors, where the targets have one
            of the names in ``TARGETS`` and the rest are arguments of the model.

    Returns:
        The samples, one tensor or several inputs; and the targets as they are, for the task to check.

    Raises:
        DataError: If it is neither.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return read_samples(batch[0]), batch[1]
    parts = _by_name(batch)
    names = [name for name in TARGETS if name in parts] if parts is not None else []
    if parts is None or len(names) != 1:
        raise DataError(
            "a batch must be (samples, targets), or a dictionary with its targets under one of "
            f"{', '.join(TARGETS)}; got {describe_value(batch)}; mend the loader's collate_fn"
        )
    return read_samples({k: v for k, v in parts.items() if k != names[0]}), parts[names[0]]


def read_samples(samples: object) -> Samples:
    """Return the samples of a batch: one tensor, or several inputs of a model.

    Args:
        samples: A tensor; a tuple or list of the model's arguments; or a dictionary or dataclass
            of them by name.

    Raises:
        DataError: If there is no tensor with a sample a row.
    """
    if isinstance(samples, Tensor | ModelCall):
        return samples
    parts = _by_name(samples)
    if parts is not None:
        call = ModelCall((), {name: value for name, value in parts.items() if value is not None})
    elif isinstance(samples, tuple | list):
        call = ModelCall(tuple(samples), {})
    else:
        call = ModelCall((), {})
    if not any(tensor.dim() for tensor in call.tensors):
        raise DataError(
            "the samples of a batch must be a tensor, or a tuple or dictionary of tensors; got "
            f"{describe_value(samples)}; mend the loader's collate_fn"
        )
    return call


def _by_name(value: object) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def move_targets(targets: Tensor, device: torch.device) -> Tensor:
    """Move targets to a device; what is no tensor stays, for the task to refuse.

    A loader may give anything, and what the model answers is looked at first.
    """
    given: object = targets
    return targets.to(device) if isinstance(given, Tensor) else targets


def find_answer(outputs: object) -> object:
    """Return the logits of a model that answers with a dictionary of several things.

    Args:
        outputs: What the model returned; anything but such a dictionary comes back as it is.
    """
    if isinstance(outputs, Mapping):
        for name in _ANSWERS:
            if name in outputs:
                return outputs[name]
    return outputs


def find_tensor(outputs: object, n_samples: int | None, *n_axes: int) -> Tensor | None:
    """Return the tensor that a model answers with, if it has the axes and the samples it should.

    Args:
        outputs: What the model returned.
        n_samples: Samples that it was given; None where that is not known.
        *n_axes: Numbers of axes that are right.
    """
    answer = find_answer(outputs)
    if isinstance(answer, Tensor) and answer.ndim in n_axes and n_samples in (None, len(answer)):
        return answer
    return None


def describe_value(value: object) -> str:
    """Say what a value is, for a message: a tensor's shape and type, else the type."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
