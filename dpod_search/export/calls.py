"""What an exported model is called with, and what it answers: several tensors, by their names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from dataclasses import is_dataclass
from typing import Any
from typing import TypeVar

import torch
from torch import Tensor
from torch import nn
from torch.utils import _pytree as pytree

from dpod_search.errors import ExportError
from dpod_search.inputs import ModelCall


T = TypeVar("T")
R = TypeVar("R")

_MIN_LENGTH = 4  # shorter rows are no text


def resize(call: ModelCall, n_samples: int) -> ModelCall:
    """Return a call with another number of samples, those of the call again and again.

    Args:
        call: Tensors that are as long as its leading one have a sample a row.
        n_samples: Samples that are wanted.
    """
    rows = torch.arange(n_samples) % call.n_samples
    return call.map(lambda t: t[rows].clone() if call.has_samples(t) else t.clone())


def list_dynamic(module: nn.Module, call: ModelCall) -> list[dict[str, Any]]:
    """Return which axes of a call may have another size, as PyTorch's exporter takes it.

    Returns:
        The most first: of tokens the length besides the batch. What the exporter refuses of these
        may be possible with the next.
    """
    length = find_length(call)
    lengths = [] if length is None else [torch.export.Dim("length", min=2, max=length)]
    return [_describe_dynamic(module, call, each) for each in (*lengths, None)]


def _describe_dynamic(module: nn.Module, call: ModelCall, length: Any) -> dict[str, Any]:
    batch = torch.export.Dim("batch", min=1)

    def describe(value: Any) -> Any:
        if not isinstance(value, Tensor) or not call.has_samples(value):
            return None
        has_length = length is not None and _has_length(value, find_length(call))
        return {0: batch, 1: length} if has_length else {0: batch}

    args, kwargs = pytree.tree_map(describe, (call.args, dict(call.kwargs)))
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


def try_each(choices: Sequence[T], make: Callable[[T], R]) -> R:
    """Return what a function makes of the first choice that it does not fail on.

    Raises:
        Exception: What it raises on the last one, if it fails on all.
    """
    for choice in choices[:-1]:
        with suppress(Exception):  # an exporter may raise anything
            return make(choice)
    return make(choices[-1])


def find_length(call: ModelCall) -> int | None:
    """Return the length of a call's rows of tokens; None if there are none, or none to shorten."""
    leading = call.leading
    is_tokens = leading.ndim == 2 and not leading.is_floating_point() and not leading.is_complex()
    return leading.shape[1] if is_tokens and leading.shape[1] > _MIN_LENGTH else None


def shorten(call: ModelCall) -> ModelCall | None:
    """Return a call with rows of half the length; None if it has no rows of tokens."""
    length = find_length(call)
    if length is None:
        return None

    def cut(tensor: Tensor) -> Tensor:
        has_length = call.has_samples(tensor) and _has_length(tensor, length)
        return tensor[:, : length // 2].clone() if has_length else tensor.clone()

    return call.map(cut)


def _has_length(tensor: Tensor, length: int | None) -> bool:
    return tensor.ndim == 2 and tensor.shape[1] == length


def name_inputs(module: nn.Module, call: ModelCall) -> list[str]:
    """Return a name for each tensor of a call, in their order: that of its argument."""
    parameters = list(inspect.signature(module.forward).parameters)
    leaves, _ = pytree.tree_flatten_with_path((call.args, dict(call.kwargs)))
    names = []
    for path, leaf in leaves:
        if isinstance(leaf, Tensor):
            keys: list[Any] = [getattr(p, "idx", getattr(p, "key", p)) for p in path]
            side, first, *rest = keys
            is_known = side == 0 and first < len(parameters)
            name = parameters[first] if is_known else first
            names.append("_".join(map(str, (name, *rest))))
    if len(set(names)) < len(names):
        names = [f"input_{number}" for number in range(len(names))]
    return names


def name_outputs(result: object) -> dict[str, Tensor]:
    """Return the tensors of what a model answered by name.

    Args:
        result: A tensor, whose name is empty; or tuples, dictionaries and dataclasses of such,
            with numbers, keys and fields in the names, and dots between.
    """
    return dict(_walk(result, ""))


def _walk(result: object, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(result, Tensor):
        yield path, result
    for name, value in _parts(result):
        yield from _walk(value, f"{path}.{name}".removeprefix("."))


def _parts(result: object) -> list[tuple[str, Any]]:
    if isinstance(result, Mapping):
        return [(str(key), value) for key, value in result.items()]
    if isinstance(result, tuple | list):
        return [(str(number), value) for number, value in enumerate(result)]
    if is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    return []


def return_plain(module: nn.Module, call: ModelCall) -> nn.Module:
    """Return a module whose answer holds no dataclasses, which a file could not bring back.

    Args:
        module: In evaluation mode.
        call: What it is called with.

    Returns:
        The module itself if there are none; else one that answers with a dictionary in the place
        of each, without fields that are None.
    """
    with torch.no_grad():
        result = call.run(module)
    return _Plain(module) if find_class(result) else module


def find_class(result: object) -> str:
    """Return the name of a class of the user's in what a model answered; nothing without one."""
    if _is_of_class(result):
        return type(result).__name__
    return next((name for _, value in _parts(result) if (name := find_class(value))), "")


class _Plain(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

        @functools.wraps(module.forward)  # whose signature it has
        def forward(*args: Any, **kwargs: Any) -> Any:
            return _to_plain(self.module(*args, **kwargs))

        self.forward: Callable[..., Any] = forward


def _is_of_class(result: object) -> bool:
    is_own = isinstance(result, Mapping) and type(result) is not dict
    return is_own or (is_dataclass(result) and not isinstance(result, type))


def _to_plain(result: Any) -> Any:
    if isinstance(result, Mapping) or _is_of_class(result):
        return {name: _to_plain(value) for name, value in _parts(result) if value is not None}
    if type(result) in {tuple, list}:
        return type(result)(_to_plain(value) for value in result)
    return result


def compare_answers(module: nn.Module, reloaded: Callable[..., Any], call: ModelCall) -> float:
    """Return the largest difference of an output, relative to its largest number (maybe NaN).

    Raises:
        ExportError: If the reloaded model returns other outputs, or of other shapes.
    """
    with torch.no_grad():
        wanted, got = name_outputs(call.run(module)), name_outputs(call.run(reloaded))
    if len(wanted) == len(got) == 1:  # some formats have no name for one
        got = dict(zip(wanted, got.values(), strict=True))
    if wanted.keys() != got.keys():
        raise ExportError(f"it returns {_spell(got)} in the place of {_spell(wanted)}")
    worst = torch.zeros(())
    for name, tensor in wanted.items():
        other = got[name]
        if other.shape != tensor.shape:
            raise ExportError(
                f"its output {name} has the shape {tuple(other.shape)} in the place of "
                f"{tuple(tensor.shape)}"
            )
        worst = torch.maximum(worst, _measure(tensor, other))
    return float(worst)


def _spell(outputs: Mapping[str, Tensor]) -> str:
    return ", ".join(name or "a tensor" for name in outputs) or "nothing"


def _measure(wanted: Tensor, got: Tensor) -> Tensor:
    if not wanted.numel():
        return torch.zeros(())
    if not wanted.is_floating_point():
        return torch.tensor(0.0 if torch.equal(wanted, got.to(wanted.dtype)) else float("inf"))
    # NaN where a number is not finite, which no limit admits.
    scale = wanted.abs().max().clamp(min=1e-12)
    return ((got - wanted).abs().max() / scale).float()
