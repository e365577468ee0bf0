"""The forms that a module is written in, and how each is read again.

A new format is two functions and one line in ``FORMATS``.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ExportError
from dpod_search.export.calls import find_class
from dpod_search.export.calls import list_dynamic
from dpod_search.export.calls import return_plain
from dpod_search.export.calls import try_each
from dpod_search.export.onnx import make_onnx
from dpod_search.export.onnx import make_onnx_int8
from dpod_search.export.onnx import read_onnx
from dpod_search.export.source import CannotWriteError
from dpod_search.export.source import write_source
from dpod_search.inputs import ModelCall
from dpod_search.weights import load_weights
from dpod_search.weights import pack_weights
from dpod_search.weights import read_tensors
from dpod_search.weights import save_weights


Classifier = Callable[..., Any]  # called as the module was, returns what it returned


@dataclass(frozen=True, eq=False)
class ExportTask:
    """What is written.

    Args:
        module: A plain module in evaluation mode, on the CPU.
        examples: What it is called with, in batches; the first one, of two samples, is what the
            module is traced with.
        pictures: Pictures that 8-bit ranges are found on; None if it does not take pictures alone.
        notes: Lines about the module that its code starts with.
    """

    module: nn.Module
    examples: tuple[ModelCall, ...]
    pictures: Tensor | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One way to write a module.

    Args:
        ending: Of the file's name.
        make: Called with what is written; returns the file's content. Some of the libraries
            behind it end the process if they cannot write, so they are given no file.
        read: Called with (the module that was written, path); returns what was loaded.
        is_exact: Whether the logits must agree.
    """

    ending: str
    make: Callable[[ExportTask], bytes]
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


def _make_safetensors(task: ExportTask) -> bytes:
    return pack_weights(task.module)


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


def _make_python(task: ExportTask) -> bytes:
    with torch.no_grad():
        kind = find_class(task.examples[0].run(task.module))
    if kind:
        raise ExportError(f"it returns a {kind}, a class that the code would not have")
    try:
        return write_source(task.module, task.examples[0], notes=task.notes).encode()
    except CannotWriteError as error:
        raise ExportError(f"it cannot be written as code: {error}") from error


def _read_python(module: nn.Module, path: Path) -> Classifier:
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.safetensors"
        save_weights(weights, module)
        return _load_code(path, weights)


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


def _make_torch_export(task: ExportTask) -> bytes:
    call = task.examples[0]
    module = return_plain(task.module, call)
    program = try_each(
        list_dynamic(module, call),
        lambda axes: torch.export.export(
            module, call.args, dict(call.kwargs), dynamic_shapes=axes
        ),
    )
    # They would be pickled; without them the file holds bytes of numbers and JSON alone.
    program.example_inputs = None
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _read_torch_export(_module: nn.Module, path: Path) -> Classifier:
    with path.open("rb") as file:
        loaded: Classifier = torch.export.load(file).module()
    return loaded


def _make_onnx(task: ExportTask) -> bytes:
    return make_onnx(task.module, task.examples[0])


def _make_onnx_int8(task: ExportTask) -> bytes:
    if task.pictures is None:
        raise ExportError("8-bit ranges are found on pictures, and it takes other inputs")
    return make_onnx_int8(task.module, task.examples[0], task.pictures)


def _read_onnx(_module: nn.Module, path: Path) -> Classifier:
    return read_onnx(path)


FORMATS: dict[str, Format] = {
    "safetensors": Format(".safetensors", _make_safetensors, _read_safetensors),
    "python": Format(".py", _make_python, _read_python),
    "torch_export": Format(".pt2", _make_torch_export, _read_torch_export),
    "onnx": Format(".onnx", _make_onnx, _read_onnx),
    "onnx_int8": Format(".int8.onnx", _make_onnx_int8, _read_onnx, is_exact=False),
}
