"""Exporting to one file: written aside, loaded again, compared, and only then put in its place."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ExportError
from dpod_search.export.calls import compare_answers
from dpod_search.export.calls import name_outputs
from dpod_search.export.calls import resize
from dpod_search.export.calls import shorten
from dpod_search.export.formats import FORMATS
from dpod_search.export.formats import ExportTask
from dpod_search.files import hash_file
from dpod_search.files import write_whole
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import find_example
from dpod_search.inputs import read_example
from dpod_search.inputs import spell_dtype
from dpod_search.own_code import describe_error
from dpod_search.quantities import kib
from dpod_search.quantities import number
from dpod_search.rng import torch_generator
from dpod_search.showing import Sheet
from dpod_search.showing import Shown


# Pictures in the batches that are compared; the first is what the module is traced with.
_BATCHES = (2, 1, 5)
_N_RANDOM = 64  # pictures that 8-bit ranges are found on, if none are given


class Exportable(Protocol):
    """What can be exported: a finetuned subnet, say."""

    @property
    def module(self) -> nn.Module:
        """A plain module in evaluation mode."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of one sample."""


@dataclass(frozen=True, repr=False)
class ExportedModel(Shown):
    """A file that was written, loaded again, and found to agree.

    Args:
        path: The file.
        format: A key of ``FORMATS``.
        sha256: Its hash, in hexadecimal.
        n_bytes: Its size.
        max_difference: Largest difference of logits, relative to the largest logit; of all
            outputs if there are several, each relative to its own largest number.
    """

    path: Path
    format: str
    sha256: str
    n_bytes: int
    max_difference: float

    def _describe(self) -> Sheet:
        facts = [("file", self.path.name), ("format", self.format)]
        facts += [("size", f"{kib(self.n_bytes)} KiB"), ("sha256", self.sha256[:12])]
        facts.append(("largest difference", number(self.max_difference, 2)))
        return Sheet("ExportedModel", facts)


def export(
    model: Exportable,
    path: Path | str,
    *,
    tolerance: float = 1e-4,
    pictures: Tensor | None = None,
    example_input: Example | None = None,
) -> ExportedModel:
    """Write a model to one file, load it again, and compare.

    Args:
        model: A plain module in evaluation mode with its input shape.
        path: The file to write; its ending chooses the format: ``.safetensors`` (weights of the
            module, without code), ``.py`` (code without weights: ``load`` in it reads
            ``model.safetensors`` beside it), ``.pt2`` (``torch.export``: graph and weights, any
            batch size), ``.onnx`` (the same, for onnxruntime) or ``.int8.onnx`` (quantised to
            8 bits).
        tolerance: Largest relative difference of logits allowed; 8-bit files are exempt.
        pictures: Pictures ``n x C x ...`` as the model is given them, at least 5: what is
            compared, and what 8-bit ranges are found on; random ones without them.
        example_input: What the module is called with, as ``build_supernet`` takes it, where that
            is not float32 pictures. A module that was cut out of a supernet knows it.

    Returns:
        The file and how well it agrees.

    Raises:
        ExportError: If the ending is not known, the format cannot hold the module, the file
            cannot be written, or the reloaded model differs by more than the tolerance.
        ConfigError: If the format needs an extra that is not installed.
    """
    target = Path(path)
    name = _find_format(target)
    task = _make_task(model, pictures, example_input)
    differences: list[float] = []

    def write_and_compare(aside: Path, content: bytes) -> None:
        aside.write_bytes(content)
        reloaded = FORMATS[name].read(task.module, aside)
        differences.extend(
            compare_answers(task.module, reloaded, batch) for batch in task.examples
        )
        differences.extend(_compare_shorter(task, reloaded))
        for difference in differences:
            limit = tolerance if FORMATS[name].is_exact else float("inf")
            if not difference <= limit:  # also if it is NaN
                raise ExportError(
                    f"{target.name} was loaded again and differs by {difference:.2g} of the "
                    f"largest logit (limit {limit:g}); it was not kept"
                )

    try:
        with _quiet():
            content = FORMATS[name].make(task)
            write_whole(target, lambda aside: write_and_compare(aside, content))
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    except ExportError as error:
        if target.name in str(error):
            raise
        raise ExportError(f"{name} export of {target.name} failed: {error}") from error
    except DpodSearchError:
        raise
    except Exception as error:  # exporters run the user's code, which may raise anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{name} export of {target.name} failed: {first}") from error
    size = target.stat().st_size
    return ExportedModel(target, name, hash_file(target), size, max(differences))


def _compare_shorter(task: ExportTask, reloaded: Callable[..., Any]) -> Iterator[float]:
    """Yield the difference on shorter rows of tokens, if both run on them."""
    call = shorten(task.examples[0])
    if call is None:
        return
    both_run = False
    with suppress(Exception), torch.no_grad():  # the length may be fixed, in module or file
        call.run(task.module)
        call.run(reloaded)
        both_run = True
    if both_run:
        yield compare_answers(task.module, reloaded, call)


def _find_format(target: Path) -> str:
    fitting = {
        kind.ending: name
        for name, kind in FORMATS.items()
        if target.name.endswith(kind.ending) and target.name != kind.ending
    }
    if not fitting:
        endings = sorted(kind.ending for kind in FORMATS.values())
        raise ExportError(f"cannot export to {target.name!r}: the ending must be one of {endings}")
    return fitting[max(fitting, key=len)]


def _make_task(
    model: Exportable, pictures: Tensor | None, example_input: Example | None
) -> ExportTask:
    module = copy.deepcopy(model.module).cpu().eval()
    call = find_example(module) if example_input is None else read_example(example_input)
    if pictures is not None:
        if len(pictures) < max(_BATCHES):
            raise ExportError(f"pictures must be at least {max(_BATCHES)}, got {len(pictures)}")
        given: Tensor | None = pictures.detach().cpu()
        calls = tuple(ModelCall((pictures[:n].detach().cpu().clone(),), {}) for n in _BATCHES)
    elif call is not None:
        call = call.map(lambda tensor: tensor.detach().cpu())
        calls, given = tuple(resize(call, n) for n in _BATCHES), None
    else:
        calls = tuple(ModelCall((_example(model.input_shape, n),), {}) for n in _BATCHES)
        given = _example(model.input_shape, _N_RANDOM)
    answers = [_check_runs(module, batch) for batch in calls]
    return ExportTask(module, calls, given, _describe(model, calls[0], answers[0]))


def _check_runs(module: nn.Module, call: ModelCall) -> dict[str, Tensor]:
    """Return what a module answers, by name."""
    try:
        with torch.no_grad():
            answers = name_outputs(call.run(module))
    except Exception as error:  # whatever a user's model raises
        kinds = ", ".join(spell_dtype(tensor.dtype) for tensor in call.tensors)
        raise ExportError(
            f"the module cannot be called with {kinds} of shape {call}: {describe_error(error)}; "
            "give what it takes as example_input"
        ) from error
    if not answers:
        raise ExportError("the module returns no tensor")
    return answers


def _describe(
    model: Exportable, call: ModelCall, answers: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Return lines for the head of the code."""
    given, returned = (
        ", ".join(map(_spell, tensors)) for tensors in (call.tensors, answers.values())
    )
    is_picture = len(call.tensors) == 1 and call.leading.ndim == 4
    if is_picture and call.leading.dtype == torch.float32:
        shape = " x ".join(map(str, call.sample_shape))
        is_classifier = len(answers) == 1 and next(iter(answers.values())).ndim == 2
        told = "logits batch x classes" if is_classifier else returned
        lines = [f"Takes float32 pictures batch x {shape} and returns {told}."]
    else:
        lines = [f"Takes {given} and returns {returned}."]
    widths = getattr(model, "widths", None)
    if isinstance(widths, Mapping) and widths:
        lines += ["", "Widths by channel group:"]
        lines += [f"    {name}: {width}" for name, width in widths.items()]
    return tuple(lines)


def _spell(tensor: Tensor) -> str:
    shape = " x ".join(["batch", *map(str, tensor.shape[1:])])
    return f"{str(tensor.dtype).removeprefix('torch.')} {shape}"


def _example(input_shape: tuple[int, ...], n: int) -> Tensor:
    return torch.randn((n, *input_shape), generator=torch_generator(0, "export/example", n))


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporters warn and log about their own future, print their progress, and the graph they
    # fail on; none of it is the user's to act on.
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir", "")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
