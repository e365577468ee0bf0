"""The forms that a module is written in, and how each is read again.

A new format is two functions and one line in ``FORMATS``.
"""

from __future__ import annotations

import copy
import importlib.util
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ExportError
from dpod_search.export.onnx import read_onnx
from dpod_search.export.onnx import write_onnx
from dpod_search.export.onnx import write_onnx_int8
from dpod_search.export.source import CannotWriteError
from dpod_search.export.source import write_source
from dpod_search.weights import load_weights
from dpod_search.weights import read_tensors
from dpod_search.weights import save_weights


Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ExportTask:
    """What is written.

    Args:
        module: A plain module in evaluation mode, on the CPU.
        examples: Batches of pictures; the first one, of two, is what the module is traced with.
        pictures: Pictures that 8-bit ranges are found on.
        notes: Lines about the module that its code starts with.
    """

    module: nn.Module
    examples: tuple[Tensor, ...]
    pictures: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One way to write a module.

    Args:
        ending: Of the file's name.
        write: Called with (what is written, path).
        read: Called with (the module that was written, path); returns what was loaded.
        is_exact: Whether the logits must agree.
    """

    ending: str
    write: Callable[[ExportTask, Path], None]
    read: Callable[[nn.Module, Path], Classifier]
    is_exact: bool = True


def read_exported(module: nn.Module, name: str, path: Path, *, weights: Path) -> Classifier:
    """Load an exported file as its user does.

    Args:
        module: What was exported; formats that hold less than a program borrow its classes.
        name: Key of ``FORMATS``.
        path: The file.
        weights: The file of weights that goes with ``model.py``.
    """
    if name == "python":
        return _load_code(path, weights)
    return FORMATS[name].read(module, path)


def _write_safetensors(task: ExportTask, path: Path) -> None:
    save_weights(path, task.module)


def _read_safetensors(module: nn.Module, path: Path) -> Classifier:
    blank = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in (*blank.parameters(), *blank.buffers()):
            tensor.zero_()
    # What the file does not hold is no weight: a constant that the module computed itself.
    held = read_tensors(path)[0]
    constants = {n: t for n, t in module.named_buffers() if n not in held}
    with torch.no_grad():
        for name, tensor in constants.items():
            blank.get_buffer(name).copy_(tensor)
    load_weights(blank, path)
    return blank


def _write_python(task: ExportTask, path: Path) -> None:
    try:
        text = write_source(task.module, task.examples[0], notes=task.notes)
    except CannotWriteError as error:
        raise ExportError(f"it cannot be written as code: {error}") from error
    path.write_text(text, encoding="utf-8")


def _read_python(module: nn.Module, path: Path) -> Classifier:
    weights = path.with_name(f".{uuid.uuid4().hex}.safetensors.part")
    try:
        save_weights(weights, module)
        return _load_code(path, weights)
    finally:
        weights.unlink(missing_ok=True)


def _load_code(path: Path, weights: Path) -> Classifier:
    loaded: Classifier = _import_file(path).load(weights)
    return loaded


def _import_file(path: Path) -> ModuleType:
    # Not the text that was written, and under a name that nobody else has.
    name = f"exported_{uuid.uuid4().hex}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    made = ModuleType(name)
    made.__file__ = str(path)
    code = compile(loader.get_data(str(path)), str(path), "exec")
    exec(code, made.__dict__)  # noqa: S102  # the file is the one that was just written
    return made


def _write_torch_export(task: ExportTask, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    example = task.examples[0]
    program = torch.export.export(task.module, (example,), dynamic_shapes=({0: batch},))
    # They would be pickled; without them the file holds bytes of numbers and JSON alone.
    program.example_inputs = None
    # torch.export wants a name that ends in .pt2, which the name written aside does not.
    with path.open("wb") as file:
        torch.export.save(program, file)


def _read_torch_export(_module: nn.Module, path: Path) -> Classifier:
    with path.open("rb") as file:
        loaded: Classifier = torch.export.load(file).module()
    return loaded


def _write_onnx(task: ExportTask, path: Path) -> None:
    write_onnx(task.module, task.examples[0], path)


def _write_onnx_int8(task: ExportTask, path: Path) -> None:
    write_onnx_int8(task.module, task.examples[0], task.pictures, path)


def _read_onnx(_module: nn.Module, path: Path) -> Classifier:
    return read_onnx(path)


FORMATS: dict[str, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "python": Format(".py", _write_python, _read_python),
    "torch_export": Format(".pt2", _write_torch_export, _read_torch_export),
    "onnx": Format(".onnx", _write_onnx, _read_onnx),
    "onnx_int8": Format(".int8.onnx", _write_onnx_int8, _read_onnx, is_exact=False),
}
