"""What of data and a model each setting of a drafted study says, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dpod_search.config.study import StudyConfig
from dpod_search.errors import MAX_PROCESSES
from dpod_search.escaping import spell_name
from dpod_search.pipeline.drafts.found import CLASSES
from dpod_search.pipeline.drafts.found import FoundData
from dpod_search.pipeline.drafts.model import FoundModel
from dpod_search.pipeline.drafts.text import DraftedSetting
from dpod_search.quantities import count
from dpod_search.quantities import plural


_DEFAULTS = StudyConfig("defaults")
_MOST_HELD_OUT, _FEW_HELD_OUT = 10_000, 50  # samples to validate or test on
_LARGE_SHARE = 0.3
_LEAST_BATCH, _STEPS = 8, 10  # an epoch has so many steps, where that leaves batches of so many
_TRAINED_PIXELS, _MEASURED_PIXELS = 2**21, 2**23  # of a batch
_MANY_FILES, _MOST_LOADERS = 1000, 4
_SMALL_PICTURES = 64  # pixels of a side, of which shifts are worth their while
# Of adamw, in training and in finetuning; larger nets bear less, given weights the least.
_RATES, _LARGE_RATES, _LARGE = (0.003, 0.001), (0.0005, 0.0002), 5_000_000
_GIVEN_RATE = 0.0001
_KINDS = {
    "imagefolder": "A folder of pictures, one subfolder a class.",
    "segmentation": "A folder of pictures and masks.",
    "text": "A file of text.",
    "arrays": "A file of arrays.",
}
# Sets whose classes are the same in a mirror.
_SYMMETRIC = ("cifar10", "fashion_mnist")
# Classes that a mirror makes others: single letters and digits, or what speaks of sides or writing.
_SIDED = re.compile(
    r"\w|\d+|.*(left|right|letter|digit|number|text|sign|arrow|word|char).*", re.IGNORECASE
)


@dataclass(frozen=True)
class Machine:
    """Where the study will run.

    Args:
        n_threads: That PyTorch takes by itself.
        has_cuda: Whether there is a GPU of the kind ``cuda``.
    """

    n_threads: int
    has_cuda: bool


def choose_settings(data: FoundData, model: FoundModel, machine: Machine) -> list[DraftedSetting]:
    """Return what a study of this model and these data says, besides what is so by default."""
    parts = (
        _of_machine(machine),
        _of_data(data, model),
        _of_task(data),
        _of_model(data, model),
        _of_shares(data, model),
        _of_optimizers(data, model),
        _of_batches(data, model),
        _of_pictures(data, model, machine),
    )
    return [DraftedSetting(*each) for part in parts for each in part]


def offer_settings(data: FoundData, model: FoundModel) -> list[DraftedSetting]:
    """Return what only the user can decide: examples, to stand commented out."""
    parts = (_of_wishes(), _of_mirrors(data), _of_downloads(model))
    return [DraftedSetting(*each) for part in parts for each in part]


_Part = Iterator[tuple[str, object, str]]


def _of_machine(machine: Machine) -> _Part:
    if machine.has_cuda:
        yield "device", "cuda", "This machine has a GPU; cpu where there is none."
        return
    threads = min(machine.n_threads, MAX_PROCESSES)
    yield (
        "threads",
        threads,
        "What PyTorch takes here; said, because the last digits of results depend on it.",
    )


def _of_data(data: FoundData, model: FoundModel) -> _Part:
    settings = data.settings
    kind = settings.name.partition(":")[0]
    yield "data.name", settings.name, _KINDS.get(kind, "The data that were asked for.")
    if settings.root != _DEFAULTS.data.root:
        yield (
            "data.root",
            settings.root,
            "Where that name begins: the folder that the study runs in.",
        )
    if settings.download:
        yield (
            "data.download",
            True,
            "They are not here yet: the first command that reads them does.",
        )
    if settings.arguments:
        reason = (
            "The highest class in the masks; said, so that they are not all read at every start."
        )
        yield "data.arguments", dict(settings.arguments), reason
    if model.image_size is not None:
        yield "data.image_size", model.image_size, _explain_size(data, model, model.image_size)


def _explain_size(data: FoundData, model: FoundModel, size: int) -> str:
    height, width = data.shape[1:]
    if model.made_for is not None and model.made_for.size == size:
        if model.made_for.is_fixed:
            return f"The model takes pictures of {size} x {size} and no others."
        return f"The weights were trained at {size} x {size}; smaller ones save time."
    short = min(height, width)
    wide = "" if data.has_one_size else " as a rule"
    if not model.is_wished:
        return f"The nearest that the model takes; the pictures are {height} x {width}{wide}."
    if abs(size - short) <= max(short // 4, 2):
        return f"Near the short side of the pictures, {short} pixels{wide}; smaller saves time."
    return f"The pictures are larger, {height} x {width}{wide}; this is enough for most."


def _of_task(data: FoundData) -> _Part:
    if data.task != CLASSES:
        yield "task.name", data.task, "What the targets of these data are for."


def _of_model(data: FoundData, model: FoundModel) -> _Part:
    settings = model.settings
    yield "model.name", settings.name, "It was built, and takes such samples."
    if settings.arguments:
        yield "model.arguments", dict(settings.arguments), "What your function asks of the data."
    if settings.weights is not None:
        heads = model.taken.heads if model.taken is not None else {}
        told = [
            f"{count(n)} classes there, {count(data.n_classes)} here" for n in set(heads.values())
        ]
        anew = f"; {', '.join(heads)} is drawn anew ({', '.join(told)})" if heads else ""
        yield "model.weights", settings.weights, f"They fit{anew}."
    if settings.weights_key is not None:
        keys = ", ".join(map(spell_name, model.fitting))
        reason = (
            f"The file holds weights that fit at {keys}; averaged ones are the better as a rule."
        )
        yield "model.weights_key", settings.weights_key, reason


def _of_shares(data: FoundData, model: FoundModel) -> _Part:
    n, default = data.n_train, _DEFAULTS.data.validation_share
    for part, use in (("validation", "compare nets on"), ("test", "test on")):
        if part in data.n_held_out:
            continue
        usual = default * n
        if usual > _MOST_HELD_OUT:
            share = max(0.01, round(_MOST_HELD_OUT / n, 2))
            told = (
                f"{count(round(share * n))} of {count(n)} are enough to {use}; the others train."
            )
            yield f"data.{part}_share", share, told
        elif usual < _FEW_HELD_OUT and part == "validation":
            told = f"Of {plural(n, 'sample')} a fifth would be few to {use}."
            yield f"data.{part}_share", _LARGE_SHARE, told


def count_trained(data: FoundData, model: FoundModel) -> int:
    """Return about how many samples are trained on, after the shares of a draft."""
    shares = {key: value for key, value, _ in _of_shares(data, model)}
    left = 1 - (0.01 if model.settings.is_trained else _DEFAULTS.data.calibration_share)
    for part in ("validation", "test"):
        if part not in data.n_held_out:
            share = shares.get(f"data.{part}_share", _DEFAULTS.data.validation_share)
            left -= float(str(share))
    return max(1, round(left * data.n_train))


def _of_optimizers(data: FoundData, model: FoundModel) -> _Part:
    is_trained = model.settings.is_trained
    if not (model.wants_adamw or data.task != CLASSES):
        # From trained weights too: what is finetuned was cut, and has much to learn again. The
        # comparison with other ways (docs/head-to-head.md) was made with the default.
        return
    reason = "Nets of this kind, and tasks other than classes, train better with it than with SGD."
    rates = _LARGE_RATES if model.n_params > _LARGE else _RATES
    if not is_trained:
        yield "training.optimizer", "adamw", reason
        yield "training.lr", rates[0], "A rate for adamw and a net of this size; 0.1 is for SGD."
        yield "training.weight_decay", 0.05, "adamw wants more of it."
    yield "finetune.optimizer", "adamw", reason
    yield (
        "finetune.lr",
        _GIVEN_RATE if is_trained else rates[1],
        "A low one, that keeps what the weights have learnt."
        if is_trained
        else "Lower than in training.",
    )
    yield "finetune.weight_decay", 0.05, "adamw wants more of it."


def _of_batches(data: FoundData, model: FoundModel) -> _Part:
    n_trained, default = count_trained(data, model), _DEFAULTS.training.batch_size
    few = _floor_power(max(_LEAST_BATCH, n_trained // _STEPS))
    wide = _floor_power(max(_LEAST_BATCH, _TRAINED_PIXELS // _count_pixels(data, model)))
    size = min(few, wide)
    if size < default:
        why = (
            f"About {plural(n_trained, 'sample')} to train on: small batches make more steps of them."
            if few <= wide
            else "Pictures of this size take memory; lower it if that is short, raise it on a GPU."
        )
        # What says how a supernet is trained has one trained, which given weights need not.
        sections = ("finetune",) if model.settings.is_trained else ("training", "finetune")
        for section in sections:
            yield f"{section}.batch_size", size, why
    measured = _floor_power(max(_LEAST_BATCH, _MEASURED_PIXELS // _count_pixels(data, model)))
    if measured < _DEFAULTS.evaluation.batch_size:
        yield "evaluation.batch_size", measured, "Pictures of this size take memory when measured."


def _of_pictures(data: FoundData, model: FoundModel, machine: Machine) -> _Part:
    if _is_mirrored(data):
        yield (
            "training.flip",
            True,
            "Mirrors pictures at random; turn it off where left and right differ, as in writing.",
        )
        side = _side(data, model)
        if side <= _SMALL_PICTURES and side // 8:
            yield "training.crop_padding", side // 8, "Shifts them at random, by up to an eighth."
    n_loaders = min(_MOST_LOADERS, machine.n_threads)
    if data.is_of_files and n_loaders > 1 and data.n_train >= _MANY_FILES:
        reason = "Processes that read the files, in each epoch anew; 0 where memory is short."
        yield "training.n_workers", n_loaders, reason


def _is_mirrored(data: FoundData) -> bool:
    name = data.settings.name
    if not data.is_picture or data.is_grey:
        return name in _SYMMETRIC
    is_sided = any(_SIDED.fullmatch(each) for each in data.class_names)
    if data.task == "segmentation":
        return data.is_of_files
    return name in _SYMMETRIC or (data.is_of_files and not is_sided)


def _of_wishes() -> _Part:
    yield (
        "search.constraints",
        {"macs": "<= 40%"},
        "A bound that every subnet keeps; of params, peak_bytes, latency_ms or accuracy likewise.",
    )
    yield (
        "finetune.budgets",
        ["macs<=50%", "macs<=25%"],
        "The best subnet under each of these, in place of the twelve best ones of all sizes.",
    )
    yield (
        "export.formats",
        ["safetensors", "torch_export", "onnx"],
        "What is written of each; onnx needs: pip install dpod-search[onnx].",
    )


def _of_mirrors(data: FoundData) -> _Part:
    if data.is_picture and data.task in {CLASSES, "multilabel"} and not _is_mirrored(data):
        why = (
            "Left to you: a mirrored digit, letter or arrow is another one or none, and only you know "
            "whether these pictures are."
        )
        yield "training.flip", True, why


def _of_downloads(model: FoundModel) -> _Part:
    if model.settings.name.startswith("timm:") and not model.settings.is_trained:
        why = "Weights that timm downloads; no supernet is trained then."
        yield "model.arguments", {"pretrained": True}, why


def _side(data: FoundData, model: FoundModel) -> int:
    return min(data.shape_at(model.image_size or model.tried_size)[1:])


def _count_pixels(data: FoundData, model: FoundModel) -> int:
    if not data.is_picture:
        return 1
    height, width = data.shape_at(model.image_size or model.tried_size)[1:]
    return max(1, height * width)


def _floor_power(n: int) -> int:
    return 1 << (n.bit_length() - 1)
