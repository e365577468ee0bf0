"""Tensors in safetensors files: written whole, read without unpickling, every tensor accounted for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
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
from dpod_search.files import write_whole


_STATE = "dpod_search"
# A hash of the whole file stands in its own header; it is made of the file with this in its place.
_BLANK = "0" * 64
_SEAL = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')
_CHUNK = 1 << 20


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Any = None) -> None:
    """Write tensors and a JSON value beside them as one whole file.

    With such a value the file also holds a hash of all that is in it.

    Args:
        path: The ``.safetensors`` file to create or replace.
        tensors: By name; they are copied to the CPU.
        state: A JSON value kept in the file's header.

    Raises:
        CheckpointError: If the file cannot be written; the earlier one stays.
    """
    # One entry only: safetensors orders several at random, and equal runs give equal files.
    if state is None:
        write_bytes(path, _pack(tensors, {"format": "pt"}))
        return
    kept = json.dumps({"sha256": _BLANK, "state": state}, allow_nan=False)
    data = memoryview(_pack(tensors, {_STATE: kept}))
    write_whole(path, lambda aside: _write_sealed(aside, data))


def pack_weights(module: nn.Module) -> bytes:
    """Return what :func:`save_weights` writes."""
    return _pack(module.state_dict(), {"format": "pt"})


def _pack(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    plain = _unshare({name: tensor.detach().cpu() for name, tensor in tensors.items()})
    return safetensors.torch.save(plain, metadata)


def _write_sealed(path: Path, data: memoryview) -> None:
    head = bytes(data[: _count_head(data[:8])])
    place = head.index(_BLANK.encode())
    with path.open("wb") as file:
        file.write(head[:place])
        file.write(hashlib.sha256(data).hexdigest().encode())
        file.write(data[place + len(_BLANK) :])


def _check_seal(path: Path) -> None:
    """Raise ValueError unless a file is, to the byte, what was written with a state."""
    with path.open("rb") as file:
        start = file.read(8)
        head = start + file.read(_count_head(start) - len(start))
        seal = _SEAL.search(head)
        if seal is None:
            raise ValueError("it has no hash, another version wrote it")
        digest = hashlib.sha256(head[: seal.start(1)] + _BLANK.encode() + head[seal.end(1) :])
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest().encode() != seal[1]:
        raise ValueError("its content does not have its hash")


def _count_head(start: bytes | memoryview) -> int:
    """Return where the tensors of a safetensors file begin."""
    return 8 + int.from_bytes(start, "little")


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
    with _telling(path), safetensors.safe_open(path, framework="pt") as file:
        kept = (file.metadata() or {}).get(_STATE)
        if kept is not None:
            _check_seal(path)
        state = None if kept is None else parse_json(kept)["state"]
        return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118


def read_state(path: Path) -> Any:
    """Read the JSON value of a file alone, as it stands there: nothing is hashed.

    Raises:
        CheckpointError: If the file is missing or damaged, or holds none.
    """
    with _telling(path), safetensors.safe_open(path, framework="pt") as file:
        return parse_json((file.metadata() or {}).get(_STATE, ""))["state"]


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say in a line why a file cannot be read inside the block."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing; give the path of a .safetensors file"
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        if path.is_dir():
            raise CheckpointError(
                f"{path} is a folder; give the path of a .safetensors file"
            ) from error
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
    both = {name: (got[name], wanted[name]) for name in wanted if name in got}
    odd = [
        f"{name} is {tuple(a.shape)} instead of {tuple(b.shape)}"
        for name, (a, b) in both.items()
        if a.shape != b.shape
    ]
    # Copying 8-bit numbers, or complex ones, would not say what these stand for.
    other = [
        f"{name} is {a.dtype} instead of {b.dtype}"
        for name, (a, b) in both.items()
        if (a.is_floating_point(), a.is_complex()) != (b.is_floating_point(), b.is_complex())
    ]
    parts = [("it lacks", missing), ("the model has no", unknown)]
    parts += [("shapes differ:", odd), ("numbers differ:", other)]
    return "; ".join(f"{what} {_shorten(names)}" for what, names in parts if names)


def _shorten(names: list[str], limit: int = 3) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
