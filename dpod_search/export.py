"""Exporting plain modules, each file loaded again and compared with what was exported.

A new format is one function and one line in ``FORMATS``.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ExportError
from dpod_search.errors import check_range
from dpod_search.files import hash_file
from dpod_search.files import write_whole
from dpod_search.rng import torch_generator
from dpod_search.weights import load_weights
from dpod_search.weights import save_weights


@dataclass(frozen=True)
class ExportSettings:
    """Which files are written of every finetuned subnet.

    Args:
        formats: Any of ``safetensors`` (weights) and ``torch_export`` (a whole program, .pt2).
        tolerance: Largest difference of logits allowed between a module and its reloaded export,
            relative to the largest logit.
    """

    formats: tuple[str, ...] = ("safetensors", "torch_export")
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check_range("export.tolerance", self.tolerance, low=0)
        for name in self.formats:
            if name not in FORMATS:
                raise ConfigError(f"export.formats knows {sorted(FORMATS)}, got {name!r}")


class Exportable(Protocol):
    """What can be exported: a finetuned subnet, say."""

    @property
    def module(self) -> nn.Module:
        """A plain module in evaluation mode."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of one sample."""


@dataclass(frozen=True)
class ExportedModel:
    """A file that was written, loaded again, and found to agree.

    Args:
        path: The file.
        format: A key of ``FORMATS``.
        sha256: Its hash, in hexadecimal.
        n_bytes: Its size.
        max_difference: Largest difference of logits, relative to the largest logit.
    """

    path: Path
    format: str
    sha256: str
    n_bytes: int
    max_difference: float


def export(model: Exportable, path: Path | str, *, tolerance: float = 1e-4) -> ExportedModel:
    """Write a model to one file, load it again, and compare.

    Args:
        model: A plain module in evaluation mode with its input shape.
        path: The file to write; its ending chooses the format: ``.safetensors`` (weights of the
            module, without code) or ``.pt2`` (``torch.export``: graph and weights, any batch size).
        tolerance: Largest relative difference of logits allowed.

    Returns:
        The file and how well it agrees.

    Raises:
        ExportError: If the ending is not known, ``torch.export`` fails, or the reloaded model
            differs by more than the tolerance.
        CheckpointError: If the file cannot be written.
    """
    target = Path(path)
    by_ending = {kind.ending: name for name, kind in FORMATS.items()}
    if target.suffix not in by_ending:
        raise ExportError(
            f"cannot export to {target.name!r}: the ending must be one of {sorted(by_ending)}"
        )
    name = by_ending[target.suffix]
    module = copy.deepcopy(model.module).cpu().eval()
    examples = [_example(model.input_shape, n) for n in (2, 5)]
    differences: list[float] = []

    def write_and_compare(aside: Path) -> None:
        FORMATS[name].write(module, examples[0], aside)
        reloaded = FORMATS[name].read(module, aside)
        differences.extend(_compare(module, reloaded, example) for example in examples)
        for difference in differences:
            if not difference <= tolerance:  # also if it is NaN
                raise ExportError(
                    f"{target.name} was loaded again and differs by {difference:.2g} of the "
                    f"largest logit (limit {tolerance:g}); it was not kept"
                )

    try:
        with _quiet():
            write_whole(target, write_and_compare)
    except DpodSearchError:
        raise
    except Exception as error:  # torch.export runs the user's code, which may raise anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{name} export of {target.name} failed: {first}") from error
    size = target.stat().st_size
    return ExportedModel(target, name, hash_file(target), size, max(differences))


def _compare(module: nn.Module, reloaded: Callable[[Tensor], Tensor], example: Tensor) -> float:
    """Return the largest difference of logits, relative to the largest logit (maybe NaN)."""
    with torch.no_grad():
        wanted = module(example)
        scale = wanted.abs().max().clamp(min=1e-12)
        return float((reloaded(example) - wanted).abs().max() / scale)


@dataclass(frozen=True)
class Format:
    """One way to write a module.

    Args:
        ending: Of the file's name.
        write: Called with (module, example pictures, path).
        read: Called with (the module that was written, path); returns what was loaded.
    """

    ending: str
    write: Callable[[nn.Module, Tensor, Path], None]
    read: Callable[[nn.Module, Path], Callable[[Tensor], Tensor]]


def _write_safetensors(module: nn.Module, _example_input: Tensor, path: Path) -> None:
    save_weights(path, module)


def _read_safetensors(module: nn.Module, path: Path) -> Callable[[Tensor], Tensor]:
    blank = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in (*blank.parameters(), *blank.buffers()):
            tensor.zero_()
    load_weights(blank, path)
    return blank


def _write_torch_export(module: nn.Module, example_input: Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (example_input,), dynamic_shapes=({0: batch},))
    # torch.export wants a name that ends in .pt2, which the name written aside does not.
    with path.open("wb") as file:
        torch.export.save(program, file)


def _read_torch_export(_module: nn.Module, path: Path) -> Callable[[Tensor], Tensor]:
    with path.open("rb") as file:
        loaded: Callable[[Tensor], Tensor] = torch.export.load(file).module()
    return loaded


FORMATS: dict[str, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "torch_export": Format(".pt2", _write_torch_export, _read_torch_export),
}


def _example(input_shape: tuple[int, ...], n: int) -> Tensor:
    return torch.randn((n, *input_shape), generator=torch_generator(0, "export/example", n))


@contextmanager
def _quiet() -> Iterator[None]:
    # torch.export warns and logs about its own future, and prints the graph it fails on; none of
    # it is the user's to act on.
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
