"""Tensors in safetensors files: written whole, read without unpickling, every tensor accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.files import parse_json
from dpod_search.files import write_bytes


_STATE = "dpod_search"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Any = None) -> None:
    """Write tensors and a JSON value beside them as one whole file.

    Args:
        path: The ``.safetensors`` file to create or replace.
        tensors: By name; they are copied to the CPU.
        state: A JSON value kept in the file's header.

    Raises:
        CheckpointError: If the file cannot be written; the earlier one stays.
    """
    plain = _unshare({name: tensor.detach().cpu() for name, tensor in tensors.items()})
    # One entry only: safetensors orders several at random, and equal runs give equal files.
    is_plain = state is None
    metadata = {"format": "pt"} if is_plain else {_STATE: json.dumps(state, allow_nan=False)}
    write_bytes(path, safetensors.torch.save(plain, metadata))


def _unshare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Tied weights are one tensor under two names, which safetensors refuses to write.
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return {name: tensor.contiguous() for name, tensor in plain.items()}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`write_tensors` wrote, or any other safetensors file.

    Returns:
        The tensors by name, and the JSON value (None if the file has none).

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = parse_json((file.metadata() or {}).get(_STATE, "null"))
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing; give the path of a .safetensors file"
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); it is damaged or no safetensors file: "
            "delete it and run the same command again"
        ) from error


def save_weights(path: Path, module: nn.Module) -> None:
    """Write the ``state_dict`` of a module as one whole file; errors as above."""
    write_tensors(path, module.state_dict())


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a whole set of weights into a module.

    Args:
        module: The net to fill, in place.
        path: A ``.safetensors`` file with exactly the tensors of the net's ``state_dict``.

    Raises:
        CheckpointError: If the file is missing or damaged, or holds other tensors or shapes.
    """
    fill_module(module, read_tensors(path)[0], path)


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a module; ``path`` is where they came from, for the message.

    Raises:
        CheckpointError: If names or shapes are not exactly those of the module.
    """
    problem = _describe_mismatch(module.state_dict(), tensors)
    if problem:
        raise CheckpointError(f"{path} does not fit the model: {problem}")
    module.load_state_dict(dict(tensors))


def _describe_mismatch(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str:
    missing = [name for name in wanted if name not in got]
    unknown = [name for name in got if name not in wanted]
    odd = [
        f"{name} is {tuple(got[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in got and got[name].shape != wanted[name].shape
    ]
    parts = [("it lacks", missing), ("the model has no", unknown), ("shapes differ:", odd)]
    return "; ".join(f"{what} {_shorten(names)}" for what, names in parts if names)


def _shorten(names: list[str], limit: int = 3) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
