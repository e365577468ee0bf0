"""What a batch is made of, as loaders give it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dpod_search.errors import DataError


# What a model that answers with a dictionary calls its logits: transformers', torchvision's.
_ANSWERS = ("logits", "out")


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
    return f"a {type(value).__name__}"
