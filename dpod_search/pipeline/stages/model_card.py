"""The page beside an exported model: what it is, how good, how to load it, what goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch

from dpod_search.data import ImageDataset
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import InMemoryImages
from dpod_search.data.source import MOST_NAMES
from dpod_search.markdown import code
from dpod_search.markdown import escape
from dpod_search.markdown import table
from dpod_search.quantities import label
from dpod_search.quantities import spell
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import ModelInput
from dpod_search.records.exported import NamedInput


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
    task: str = "classification",
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
        task: What it is for.
    """
    member = "the full net" if model.trial is None else f"trial {model.trial}"
    lines = [
        f"# {escape(study)}, {member}",
        "",
        (
            f"{_introduce(model.input, task)}: a subnet of {code(architecture)} that dpod-search "
            f"found in study {code(study)}, cut out, finetuned and exported."
        ),
        "",
        "## How good, how large",
        "",
        *table(
            ("what", "value"),
            [*_metrics(model), *_footprint(model), *_measured(values, model)],
        ),
        "",
        "The test split is opened for reporting only: no choice was made on it.",
        "",
        "## Input and output",
        "",
        *_describe_input(model.input),
        *_describe_output(model.input),
        "",
        "## Loading",
        "",
        *_loading(model, task),
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


def _introduce(given: ModelInput, task: str) -> str:
    if task == "classification" and given.is_picture:
        return "An image classifier" + (f" of {n} classes" if (n := len(given.classes)) else "")
    return f"A net for {escape(task)}"


def _describe_input(given: ModelInput) -> list[str]:
    noun = "pictures" if given.is_picture else "samples"
    if given.inputs:
        return [
            "* Inputs, any batch size:",
            *(
                f"    * {code(each.name)}: {each.dtype} `{_shape(each.shape)}`"
                for each in given.inputs
            ),
            f"* Values: {code(given.how)}.",
        ]
    lines = [f"* Input: {given.dtype} {noun} `{_shape(given.shape)}`, any batch size."]
    if given.is_picture:
        lines.append(f"* Normalisation: {code(given.how)}. It is no part of the model.")
    else:
        lines.append(f"* Values: {code(given.how)}.")
    return lines


def _describe_output(given: ModelInput) -> list[str]:
    n = len(given.classes)
    if given.output is None:
        what, is_named, order = f"logits {code(_shape((n,)))}", True, ", the classes in this order"
    else:
        what, is_named = code(_shape(given.output)), n in given.output and n > 1
        order = f"; the axis of {n} has this order"
    if not is_named or n > MOST_NAMES:
        return [f"* Output: {what}."]
    names = ", ".join(code(_spell_name(name)) for name in given.classes)
    return [f"* Output: {what}{order}:", f"  {names}."]


def _spell_name(name: str) -> str:
    """Spell characters that show nothing as Python does: else no list of them could be read."""
    is_seen = name.isprintable() and name != " "
    return name if is_seen or len(name) != 1 else repr(name)


def _metrics(model: ExportedModel) -> list[tuple[str, str]]:
    eight_bit = model.files.get("onnx_int8")
    rows = []
    for name in model.test:
        called = label(name)
        rows += [
            (f"validation {called} before finetuning", spell(name, model.validation_before[name])),
            (f"validation {called}", spell(name, model.validation[name])),
            (f"test {called}", spell(name, model.test[name])),
        ]
        if eight_bit is not None and name in eight_bit.test:
            rows.append((f"test {called} in 8 bits", spell(name, eight_bit.test[name])))
    return rows


def _footprint(model: ExportedModel) -> list[tuple[str, str]]:
    return [(name, spell(name, value)) for name, value in model.footprint.items()]


def _measured(values: Mapping[str, float], model: ExportedModel) -> list[tuple[str, str]]:
    """Tell the objectives of the search that stand nowhere else, such as a measured latency."""
    others = {*model.test, *model.footprint}
    return [(name, spell(name, value)) for name, value in values.items() if name not in others]


def _loading(model: ExportedModel, task: str) -> list[str]:
    lines: list[str] = []
    for name, (title, _) in _LOADERS.items():
        if name in model.files:
            lines += [f"### {title}", "", "```python", write_loader(model, name, task), "```", ""]
    return lines


def write_loader(model: ExportedModel, name: str, task: str = "classification") -> str:
    """Write the lines of Python that load a file of a model and call it.

    Args:
        model: The model's entry in the manifest.
        name: ``python``, ``torch_export``, ``onnx`` or ``onnx_int8``.
        task: What it is for.
    """
    _, lines = _LOADERS[name]
    if not model.input.is_picture:
        # An ONNX input has the name of the model's argument, whatever that is.
        lines = lines.replace('"images"', "session.get_inputs()[0].name")
        lines = lines.replace("images", "samples")
    if model.input.inputs:
        lines = _call_with(model.input.inputs, lines)
    return lines if task == "classification" else lines.replace("logits", "outputs")


def _call_with(inputs: Sequence[NamedInput], lines: str) -> str:
    """Return lines that load a model and call it on samples, with all its inputs instead."""
    called = ", ".join(f"{i.name}={i.name}" if i.is_keyword else i.name for i in inputs)
    fed = ", ".join(f'"{each.name}": {each.name}.numpy()' for each in inputs)
    alone = "{session.get_inputs()[0].name: samples.numpy()}"
    return lines.replace("model(samples)", f"model({called})").replace(alone, f"{{{fed}}}")


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(["batch", *map(str, shape)])


def describe_input(
    dataset: ImageDataset, *, source: str, dtype: str = "float32"
) -> dict[str, Any]:
    """Say how samples are normalised.

    Args:
        dataset: A split of the source.
        source: The source's name in the study.
        dtype: Of the samples.

    Returns:
        JSON values: ``peak``, ``mean`` and ``std`` (a list each, by channel) such that the input
        is ``(pixel / peak - mean) / std``; None each where the source does not say; and ``how``,
        in words.
    """
    while isinstance(dataset, DatasetView):
        dataset = dataset.dataset
    if isinstance(dataset, InMemoryImages):
        return _describe_bytes(dataset, source)
    told = getattr(dataset, "how", "")
    if told:
        return {"peak": None, "mean": None, "std": None, "how": str(told)}
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
        "how": f"{dtype} exactly as {source} yields them",
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
