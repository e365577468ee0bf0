"""Files of trained weights that a user has: safetensors, or what ``torch.save`` wrote of tensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpod_search.errors import CheckpointError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.errors import tell_first_line
from dpod_search.weights import read_tensors


StateDicts = dict[str, dict[str, Tensor]]

# How files of torch.save usually end, and how they begin: as a zip archive, or as a pickle.
_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar")
_BEGINNINGS = (b"PK\x03\x04", b"\x80")
_N_HEAD = 9  # bytes: of a safetensors file the length of its header, and the brace that opens it
# How PyTorch names what it does not unpickle.
_REFUSED = re.compile(r"(?:GLOBAL|unsupported class|unrecognized function) (\S+)")
_DEPTH = 2  # dictionaries around a state dict; optimizers have theirs deeper
_N_SHOWN = 5


def read_state_dicts(path: Path) -> StateDicts:
    """Read every state dict of a file, on the CPU.

    Args:
        path: A safetensors file, or one of ``torch.save`` that holds a state dict, or
            dictionaries with state dicts in them. Of the latter nothing is unpickled but
            tensors and plain values.

    Returns:
        The tensors by name, by the keys that lead to them with dots between; the key is empty
        where the file holds nothing else.

    Raises:
        CheckpointError: If the file is missing or damaged, holds what only unpickling would
            read, or no state dict.
    """
    if not _is_of_torch_save(path):
        return {"": read_tensors(path)[0]}
    found = dict(_find(_load(path), ""))
    for tensors in found.values():
        for name, tensor in tensors.items():
            if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
                raise CheckpointError(
                    f"{path}: {shorten(name)} is sparse, quantised or without values; save plain "
                    "tensors"
                )
    if not found:
        raise CheckpointError(
            f"{path} holds no state dict, names with a tensor each; write one with "
            "torch.save(model.state_dict(), ...)"
        )
    return found


def _is_of_torch_save(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_N_HEAD)
    except OSError:
        return False  # which the other reader tells
    if head[_N_HEAD - 1 :] == b"{":
        return False
    return path.suffix in _ENDINGS or head.startswith(_BEGINNINGS)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, which is refused below
            # The one place: this reads tensors and plain values, and runs no code of the file.
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # a damaged pickle may raise anything
        text = str(error)
        named = _REFUSED.search(text)
        if named or "TorchScript" in text:
            what = f"objects of {shorten(named[1])}" if named else "a TorchScript program"
            raise CheckpointError(
                f"{path} holds {what}, which only running code of the file would read; save "
                "the weights alone, with torch.save(model.state_dict(), ...), where it was made"
            ) from error
        reason = " ".join(text.partition("WeightsUnpickler error:")[2].split()[:8])
        raise CheckpointError(
            f"{path} cannot be read as a file of torch.save "
            f"({reason or shorten(tell_first_line(error), 200)}); it is damaged or another kind "
            "of file"
        ) from error


def _find(value: object, key: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(value, Mapping) or not value:
        return
    if all(isinstance(n, str) and isinstance(t, Tensor) for n, t in value.items()):
        yield key, dict(value)
    elif depth < _DEPTH:
        for name, held in value.items():
            if isinstance(name, str):
                yield from _find(held, f"{key}.{name}".removeprefix("."), depth + 1)


def tell_keys(keys: Mapping[str, Any]) -> str:
    """Spell the keys of state dicts for a message."""
    names = [show(key) for key in keys]
    more = f" and {len(names) - _N_SHOWN} more" if len(names) > _N_SHOWN else ""
    return ", ".join(names[:_N_SHOWN]) + more
