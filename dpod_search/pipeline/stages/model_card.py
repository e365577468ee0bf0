"""The page beside an exported model: what it is, how good, how to load it, what goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dpod_search.data import ImageDataset
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import InMemoryImages
from dpod_search.markdown import code
from dpod_search.markdown import escape
from dpod_search.markdown import table
from dpod_search.quantities import percent
from dpod_search.quantities import spell
from dpod_search.records.exported import ExportedModel


_DIGITS_PEAK = 16.0
_BYTE_PEAK = 255.0
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


def write_card(
    model: ExportedModel,
    *,
    study: str,
    source: str,
    architecture: str,
    fingerprint: str,
    versions: Mapping[str, str],
    full: Mapping[str, int],
    values: Mapping[str, float],
) -> str:
    """Write the model card in Markdown.

    Args:
        model: The model's entry in the manifest.
        study: Name of the study.
        source: Name of the data in it.
        architecture: Name of the model in it.
        fingerprint: Of the data.
        versions: Of the packages it was made with.
        full: Widths of the full net.
        values: Its objectives after finetuning.
    """
    member = "the full net" if model.trial is None else f"trial {model.trial}"
    shape = " x ".join(map(str, model.input.shape))
    classes = model.input.classes
    lines = [
        f"# {escape(study)}, {member}",
        "",
        (
            f"An image classifier of {len(classes)} classes: a subnet of {code(architecture)} that "
            f"dpod-search found in study {code(study)}, cut out, finetuned and exported."
        ),
        "",
        "## How good, how large",
        "",
        *table(
            ("what", "value"),
            [*_accuracies(model), *_footprint(model), *_measured(values, model)],
        ),
        "",
        "The test split is opened for reporting only: no choice was made on it.",
        "",
        "## Input and output",
        "",
        f"* Input: float32 pictures `batch x {shape}`, any batch size.",
        f"* Normalisation: {code(model.input.how)}. It is no part of the model.",
        f"* Output: logits `batch x {len(classes)}`, the classes in this order:",
        f"  {', '.join(code(str(name)) for name in classes)}.",
        "",
        "## Loading",
        "",
        *_loading(model),
        "## Widths",
        "",
        *table(
            ("channel group", "width", "of"),
            [(code(name), str(width), str(full[name])) for name, width in model.widths.items()],
        ),
        "",
        "## Where it comes from",
        "",
        f"* Data: {code(source)}, fingerprint {code(fingerprint)}.",
        f"* Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        *(f"* {escape(note)}" for note in model.notes),
        (
            "* Licence: those of the original model, of its pretrained weights and of the data "
            "hold for this model; dpod-search adds no condition of its own."
        ),
        "",
    ]
    return "\n".join(lines)


def _accuracies(model: ExportedModel) -> list[tuple[str, str]]:
    rows = [
        ("validation accuracy before finetuning", model.validation_accuracy_before),
        ("validation accuracy", model.validation_accuracy),
        ("test accuracy", model.test_accuracy),
    ]
    eight_bit = model.files.get("onnx_int8")
    if eight_bit is not None and eight_bit.test_accuracy is not None:
        rows.append(("test accuracy in 8 bits", eight_bit.test_accuracy))
    return [(name, percent(value, 2)) for name, value in rows]


def _footprint(model: ExportedModel) -> list[tuple[str, str]]:
    return [(name, spell(name, value)) for name, value in model.footprint.items()]


def _measured(values: Mapping[str, float], model: ExportedModel) -> list[tuple[str, str]]:
    """Tell the objectives of the search that stand nowhere else, such as a measured latency."""
    others = {"accuracy", *model.footprint}
    return [(name, spell(name, value)) for name, value in values.items() if name not in others]


def _loading(model: ExportedModel) -> list[str]:
    lines: list[str] = []
    for name, (title, loader) in _LOADERS.items():
        if name in model.files:
            lines += [f"### {title}", "", "```python", loader, "```", ""]
    return lines


def describe_input(dataset: ImageDataset, *, source: str) -> dict[str, Any]:
    """Say how pictures are normalised.

    Args:
        dataset: A split of the source.
        source: The source's name in the study.

    Returns:
        JSON values: ``peak``, ``mean`` and ``std`` (a list each, by channel) such that the input
        is ``(pixel / peak - mean) / std``; None each where the source does not say; and ``how``,
        in words.
    """
    while isinstance(dataset, DatasetView):
        dataset = dataset.dataset
    if isinstance(dataset, InMemoryImages):
        return _describe_bytes(dataset, source)
    steps = getattr(getattr(dataset, "transform", None), "transforms", ())
    for step in steps:
        # Others have a mean and a deviation too: those of the noise that they add, for instance.
        if type(step).__name__ == "Normalize":
            mean, std = (torch.as_tensor(v).flatten().tolist() for v in (step.mean, step.std))
            return _say(_BYTE_PEAK, mean, std)
    return {
        "peak": None,
        "mean": None,
        "std": None,
        "how": f"float32 exactly as {source} yields them",
    }


def _describe_bytes(dataset: InMemoryImages, source: str) -> dict[str, Any]:
    # What is kept is one factor and one summand a channel; a user's own source may have any peak.
    known = {"digits": _DIGITS_PEAK, "fashion_mnist": _BYTE_PEAK, "cifar10": _BYTE_PEAK}
    peak = known.get(source, 1.0)
    scale, shift = dataset._scale.flatten(), dataset._shift.flatten()
    std = [round(1 / (peak * float(s)), 6) for s in scale]
    mean = [round(-float(b) / (peak * float(s)), 6) for b, s in zip(shift, scale, strict=True)]
    return _say(peak, mean, std)


def _say(peak: float, mean: list[float], std: list[float]) -> dict[str, Any]:
    how = f"(pixel / {peak:g} - {_round(mean)}) / {_round(std)}, by channel, as float32"
    return {"peak": peak, "mean": mean, "std": std, "how": how}


def _round(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
