"""What a model is called with: tensors by position and by name, and what is no tensor."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import cast

import torch
from torch import Tensor
from torch import nn
from torch.utils import _pytree as pytree

from dpod_search.errors import GroupingError


@dataclass(frozen=True, eq=False)
class ModelCall:
    """A call of a model.

    Args:
        args: What is given by position; tensors may lie in tuples, lists and dictionaries.
        kwargs: What is given by name.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Its tensors, in order."""
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def leading(self) -> Tensor:
        """The first tensor that has more than one sample, or at least one: it has the batch."""
        with_axis = [tensor for tensor in self.tensors if tensor.dim()]
        return next((tensor for tensor in with_axis if len(tensor) > 1), with_axis[0])

    @property
    def n_samples(self) -> int:
        """Samples in its leading tensor."""
        return len(self.leading)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample of its leading tensor."""
        return tuple(self.leading.shape[1:])

    def has_samples(self, tensor: Tensor) -> bool:
        """Say whether a tensor has a sample a row: it is as long as the leading one."""
        return tensor.dim() > 0 and len(tensor) == self.n_samples

    def take_few(self) -> ModelCall:
        """Return a call like it, with copies of its tensors and few samples.

        They are two, so that it can be told what has samples, or more where another tensor is
        as long as that; all, where another axis is as long as the batch, and what has samples
        cannot be told.
        """
        n = self.n_samples
        lengths = {len(tensor) for tensor in self.tensors if tensor.dim()}
        others = {size for tensor in self.tensors for size in tensor.shape[1:]}
        if len(self.tensors) > 1 and n in others:
            lengths |= set(range(n))
        few = self.take(slice(next((k for k in range(2, n) if k not in lengths), n)))
        return few.map(lambda tensor: tensor.detach().clone())

    def take(self, rows: slice) -> ModelCall:
        """Return the call with some of its samples."""
        return self.map(lambda tensor: tensor[rows] if self.has_samples(tensor) else tensor)

    def map(self, function: Callable[[Tensor], Any]) -> ModelCall:
        """Return the call with another value in the place of each tensor."""
        args, kwargs = pytree.tree_map_only(Tensor, function, (self.args, dict(self.kwargs)))
        return ModelCall(args, kwargs)

    def run(self, model: nn.Module | Callable[..., Any]) -> Any:
        """Call a model."""
        return model(*self.args, **self.kwargs)

    def __str__(self) -> str:
        """Return the shapes of its tensors."""
        return ", ".join(str(tuple(tensor.shape)) for tensor in self.tensors)


# One tensor, several by position or by name, ``(args, kwargs)``, or a call.
Example = (
    Tensor
    | tuple[Tensor, ...]
    | Mapping[str, Any]
    | tuple[tuple[Any, ...], Mapping[str, Any]]
    | ModelCall
)


def read_example(example_input: Example) -> ModelCall:
    """Return the call that an example input stands for.

    Args:
        example_input: A tensor; a tuple of them; a dictionary, by the names of arguments;
            ``(args, kwargs)``; or a call.

    Raises:
        GroupingError: If there is no tensor, or one without a batch axis or without values.
    """
    if isinstance(example_input, ModelCall):
        call = example_input
    elif isinstance(example_input, Mapping):
        call = ModelCall((), example_input)
    elif isinstance(example_input, tuple | list):
        is_pair = (
            len(example_input) == 2
            and isinstance(example_input[0], tuple | list)
            and isinstance(example_input[1], Mapping)
        )
        args, kwargs = cast(Any, example_input) if is_pair else (example_input, {})
        call = ModelCall(tuple(args), kwargs)
        for value in () if is_pair else call.args:
            _check_samples(value)
    else:
        call = ModelCall((example_input,), {})
    if not any(tensor.dim() for tensor in call.tensors):
        _check_samples(example_input)
    for tensor in call.tensors:
        if tensor.dim():  # else it is a number
            _check_samples(tensor)
        check_values(tensor, "an example input")
    return call


def call_with_samples(samples: Example | ModelCall) -> ModelCall:
    """Return the call that samples stand for, which one tensor may have none of.

    Raises:
        GroupingError: As :func:`read_example`, of anything but one tensor.
    """
    if isinstance(samples, ModelCall):
        return samples
    return ModelCall((samples,), {}) if isinstance(samples, Tensor) else read_example(samples)


# Of a batch: one tensor with a sample a row, or several inputs.
Samples = Tensor | ModelCall


def count_samples(samples: Samples) -> int:
    """Return how many samples there are."""
    return len(samples) if isinstance(samples, Tensor) else samples.n_samples


def take_samples(samples: Samples, rows: slice) -> Samples:
    """Return some of them."""
    return samples[rows] if isinstance(samples, Tensor) else samples.take(rows)


def call_on(model: Callable[..., Any], samples: Samples) -> Any:
    """Call a model on samples."""
    return model(samples) if isinstance(samples, Tensor) else samples.run(model)


def shapes_of(samples: Samples) -> tuple[tuple[int, ...], ...]:
    """Return the shape of one sample of each tensor."""
    return tuple(tuple(tensor.shape[1:]) for tensor in call_with_samples(samples).tensors)


def join_samples(parts: Sequence[Samples]) -> Samples:
    """Join the samples of several batches, of one form all.

    Args:
        parts: At least one. Those whose samples have other shapes than the first one's, such as
            rows that were padded to another length, are left out.
    """
    first = parts[0]
    alike = [part for part in parts if shapes_of(part) == shapes_of(first)]
    if isinstance(first, Tensor):
        return torch.cat([part for part in alike if isinstance(part, Tensor)])
    calls = [part for part in alike if isinstance(part, ModelCall)]
    columns = zip(*(call.tensors for call in calls), strict=True)
    joined = iter(
        [torch.cat(column) if first.has_samples(column[0]) else column[0] for column in columns]
    )
    return first.map(lambda _: next(joined))


_NOTED = "_dpod_example"


def note_example(module: nn.Module, call: ModelCall) -> None:
    """Let a module know what it is called with, unless that is pictures or the like alone.

    Args:
        module: A plain module; it may be pickled, so that what is noted are tuples, dictionaries
            and tensors.
        call: What its supernet was built with.
    """
    is_plain = len(call.args) == 1 and not call.kwargs and isinstance(call.args[0], Tensor)
    if not is_plain or call.args[0].dtype != torch.float32:
        noted = call.take_few()  # a module must not carry a batch of the user's about
        setattr(module, _NOTED, (noted.args, dict(noted.kwargs)))


def find_example(module: nn.Module) -> ModelCall | None:
    """Return what :func:`note_example` noted at a module; None if it did not."""
    noted = getattr(module, _NOTED, None)
    return None if noted is None else ModelCall(*noted)


def spell_dtype(dtype: torch.dtype) -> str:
    """Return the name of a type as files and messages have it: ``float32``."""
    return str(dtype).removeprefix("torch.")


def check_values(tensor: Tensor, what: str) -> None:
    """Raise unless a tensor has values."""
    if tensor.is_meta:
        raise GroupingError(f"{what} is on device 'meta', without values; move it to a real one")


def _check_samples(value: object) -> None:
    if not isinstance(value, Tensor) or not value.dim() or not len(value):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise GroupingError(
            f"an example input must be a tensor with at least one sample, got {got}"
        )
