"""The code that loads an exported model, which model cards and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from dpod_search.escaping import quote_python
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import NamedInput


_LOADERS: Mapping[str, tuple[str, str]] = {
    "python": (
        "Code and weights (PyTorch and safetensors)",
        """\
from pathlib import Path
import importlib.util

spec = importlib.util.spec_from_file_location("exported_model", Path("model.py").resolve())
code = importlib.util.module_from_spec(spec)
spec.loader.exec_module(code)
model = code.load("model.safetensors")
logits = model(images)""",
    ),
    "torch_export": (
        "A whole program (PyTorch)",
        """\
import torch

model = torch.export.load("model.pt2").module()
logits = model(images)""",
    ),
    "onnx": (
        "ONNX (onnxruntime)",
        """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
logits = session.run(None, {"images": images.numpy()})[0]""",
    ),
    "onnx_int8": (
        "ONNX in 8 bits (onnxruntime)",
        """\
import onnxruntime

session = onnxruntime.InferenceSession("model.int8.onnx", providers=["CPUExecutionProvider"])
logits = session.run(None, {"images": images.numpy()})[0]""",
    ),
}


@dataclass(frozen=True)
class Loading:
    """How one form of an exported model is loaded.

    Args:
        form: Its name in ``export.formats``, or ``python``.
        title: What it is called, and what loads it.
        code: Python that loads the model and calls it.
    """

    form: str
    title: str
    code: str


def write_loading(
    model: ExportedModel, task: str, *, run: PurePath | None = None
) -> tuple[Loading, ...]:
    """Write the code that loads each form of an exported model.

    Args:
        model: The model.
        task: What it is for.
        run: The run folder, from where the code runs; None where that is the model's own folder.

    Returns:
        An entry for each form that the model has.
    """
    return tuple(
        Loading(form, title, _adapt(lines, form, model, task, run))
        for form, (title, lines) in _LOADERS.items()
        if form in model.files
    )


def _adapt(lines: str, form: str, model: ExportedModel, task: str, run: PurePath | None) -> str:
    if not model.input.is_picture:
        # An ONNX input has the name of the model's argument, whatever that is.
        lines = lines.replace('"images"', "session.get_inputs()[0].name")
        lines = lines.replace("images", "samples")
    if model.input.inputs:
        lines = _call_with(model.input.inputs, lines)
    if task != "classification":
        lines = lines.replace("logits", "outputs")
    if run is not None:
        begin = (run / model.files[form].path).with_name("model.").as_posix()
        lines = lines.replace('"model.', quote_python(begin).removesuffix('"'))
    return lines


def _call_with(inputs: Sequence[NamedInput], lines: str) -> str:
    """Return lines that load a model and call it on samples, with all its inputs instead."""
    called = ", ".join(f"{i.name}={i.name}" if i.is_keyword else i.name for i in inputs)
    fed = ", ".join(f'"{each.name}": {each.name}.numpy()' for each in inputs)
    alone = "{session.get_inputs()[0].name: samples.numpy()}"
    return lines.replace("model(samples)", f"model({called})").replace(alone, f"{{{fed}}}")
