"""The fourth stage: export the finetuned subnets and say in a manifest what they are."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import ExportError
from dpod_search.errors import show
from dpod_search.export import FORMATS
from dpod_search.export import ExportedModel as Written
from dpod_search.export import export
from dpod_search.export import read_exported
from dpod_search.export.calls import name_inputs
from dpod_search.export.onnx import check_onnx
from dpod_search.files import hash_file
from dpod_search.files import write_text
from dpod_search.finetune import FinetunedSubnet
from dpod_search.inputs import ModelCall
from dpod_search.inputs import call_on
from dpod_search.inputs import call_with_samples
from dpod_search.inputs import spell_dtype
from dpod_search.inputs import take_samples
from dpod_search.pipeline.environment import package_versions
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.delivering import read_finetuned
from dpod_search.pipeline.stages.model_card import describe_input
from dpod_search.pipeline.stages.model_card import write_card
from dpod_search.pipeline.stages.purpose import describe_purpose
from dpod_search.pipeline.stages.scores import check_exported
from dpod_search.pipeline.stages.scores import score_model
from dpod_search.placement import Placement
from dpod_search.records.exported import FOLDER
from dpod_search.records.exported import ExportedFile
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import Manifest
from dpod_search.records.exported import ModelInput
from dpod_search.records.exported import NamedInput
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.record import locate
from dpod_search.tasks import Classification


_logger = logging.getLogger(__name__)

# Goes up when this stage writes more than it did, so that older folders are exported again.
_LAYOUT = 2
# Logits of two runs of one model differ by this much, relative to the largest; and by this much
# if the front was scored on an accelerator.
_ROUNDING = 1e-5
_ACCELERATOR_ROUNDING = 1e-2
_CARD = "README.md"
_N_COMPARED = 5  # fewest samples that a file can be compared on


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the exported files depend on."""
    digest = session.folder.require_hash(FinetunedFront.FILE, "finetune")
    members = _choose_members(session, FinetunedFront.read(session.path))
    settings = dataclasses.asdict(session.config.export)
    if not settings["budgets"]:  # folders of before there were any are done still
        del settings["budgets"]
    # Other weights may well have the same accuracies, which is all that the front says of them.
    weights = [f"finetuned/{member.folder}/model.safetensors" for member in members]
    return {
        "front": digest,
        "weights": [session.folder.require_hash(name, "finetune") for name in weights],
        "export": settings,
        "layout": _LAYOUT,
    }


def run(session: Session, _: Mapping[str, Any]) -> list[str]:
    """Export the members of the front, or those of some budgets; return the files written."""
    session.folder.require(FinetunedFront.FILE, "finetune")
    members = _choose_members(session, FinetunedFront.read(session.path))
    check_onnx(session.config.export.formats)
    session.progress.start("export", len(members))
    models = []
    for member in members:
        models.append(_export_one(session, member))
        session.progress.advance(1, f"trial {member.folder}")
    session.progress.finish()
    manifest = Manifest(
        study=session.config.name,
        data=session.data.fingerprint,
        versions=package_versions(),
        models=tuple(models),
        task=describe_purpose(session.task),
    )
    kept = [file.path for file in manifest.list_files()]
    removed = _remove_stale(session.path, kept)
    if removed:
        _logger.warning(
            "export: deleted what the export before had written and this one does not name: %s; "
            "export.formats with all forms, and export.budgets without any, keep them",
            ", ".join(removed),
        )
    manifest.write(session.path, FOLDER)
    return [*kept, f"{FOLDER}/{Manifest.FILE}"]


def check_formats(session: Session) -> None:
    """Check that the study's data can be exported in every format, before anything is trained.

    Raises:
        ConfigError: If a package is missing, or a format takes no samples of several inputs.
    """
    formats = session.config.export.formats
    check_onnx(formats)
    if "onnx_int8" in formats and not isinstance(session.calibration_images, Tensor):
        raise ConfigError(
            "export.formats has onnx_int8, whose ranges are found on samples of one input, and the "
            "model takes several; leave it out, onnx is the same in 32 bits"
        )


def _choose_members(session: Session, front: FinetunedFront) -> tuple[Member, ...]:
    wanted = session.config.export.budgets
    if not wanted:
        return front.members
    for budget in wanted:
        if front.chosen.get(budget) is None and not any(
            budget in m.budgets for m in front.members
        ):
            known = ", ".join(front.chosen) or "the run has none"
            raise ConfigError(
                f"export.budgets has {show(budget)}, for which no subnet was finetuned; budgets of "
                f"the run: {known}"
            )
    return tuple(member for member in front.members if {*wanted} & {*member.budgets})


def _remove_stale(folder: Path, kept: Collection[str]) -> list[str]:
    """Delete what an earlier export wrote and this one did not write again; return its names.

    Args:
        folder: The run folder; the manifest in it is still that of the earlier export.
        kept: Files that this one wrote, relative to the folder.
    """
    removed = []
    with suppress(CheckpointError):  # it cannot be read, and names nothing
        earlier = Manifest.read_if_there(folder, FOLDER)
        for listed in earlier.list_files() if earlier is not None else ():
            file = folder / listed.path
            if listed.path in kept or not _is_exported(listed.path) or not file.is_file():
                continue
            # What was put in its place is the user's own, and so is whatever lies beside it.
            if hash_file(file) == listed.sha256:
                file.unlink()
                removed.append(listed.path)
                with suppress(OSError):  # not empty
                    file.parent.rmdir()
    return removed


def _is_exported(name: str) -> bool:
    """Say whether a path is one that this stage writes to: ``exported/<member>/<file>``."""
    parts = PurePosixPath(name).parts
    return len(parts) == 3 and parts[0] == FOLDER


def _export_one(session: Session, member: Member) -> ExportedModel:
    widths = session.blank_supernet.space.make(member.widths)
    tuned = read_finetuned(session, member.folder, widths)
    written, notes = _write_files(session, member.folder, tuned)
    uncounted = session.blank_supernet.grouping.uncounted
    if uncounted:
        # Without the lines of code, which are paths of this machine.
        names = ", ".join(dict.fromkeys(where.partition(" (")[0] for where in uncounted))
        notes.append(f"Its macs are without those of {names}: no closed form counts them.")
    try:
        files = dict(_test_files(session, member, tuned, written))
    except ExportError:
        for file in written.values():  # nobody should take them home
            file.path.unlink()
        raise
    exact = [file.max_difference for name, file in written.items() if FORMATS[name].is_exact]
    model = ExportedModel(
        trial=member.trial,
        widths=dict(member.widths),
        sizes=dict(tuned.footprint),
        footprint=dict(tuned.footprint),
        validation_before=member.validation_before,
        validation=member.validation,
        test=member.test,
        files=files,
        notes=tuple(notes),
        max_difference=max(exact, default=0.0),
        input=_describe_input(session, tuned),
        input_shape=tuned.input_shape,
        classes=session.data.class_names,
    )
    return replace(model, files={**files, "card": _write_card(session, member, model)})


def _describe_input(session: Session, tuned: FinetunedSubnet) -> ModelInput:
    sample = take_samples(session.calibration_images, slice(1))
    dtype = spell_dtype(call_with_samples(sample).leading.dtype)
    output = None
    if not isinstance(session.task, Classification) or not session.data.class_names:
        with torch.no_grad():
            answers = call_on(tuned.module.cpu(), Placement(torch.device("cpu")).put(sample))
        output = tuple(session.task.check_outputs(answers, 1).shape[1:])
    return ModelInput(
        shape=tuned.input_shape,
        **describe_input(session.data.test, source=session.config.data.name, dtype=dtype),
        classes=session.data.class_names,
        dtype=dtype,
        output=output,
        inputs=() if isinstance(sample, Tensor) else _name_inputs(tuned.module, sample),
    )


def _name_inputs(module: nn.Module, call: ModelCall) -> tuple[NamedInput, ...]:
    names = name_inputs(module, call)
    n_args = len(ModelCall(call.args, {}).tensors)
    return tuple(
        NamedInput(
            name=name,
            shape=tuple(tensor.shape[1:]),
            dtype=spell_dtype(tensor.dtype),
            is_keyword=place >= n_args,
        )
        for place, (name, tensor) in enumerate(zip(names, call.tensors, strict=True))
    )


def _write_files(
    session: Session, folder: str, tuned: FinetunedSubnet
) -> tuple[dict[str, Written], list[str]]:
    """Write every format; a net that cannot be written as code is a note and no failure."""
    settings, samples = session.config.export, session.calibration_images
    is_enough = isinstance(samples, Tensor) and len(samples) >= _N_COMPARED
    files: dict[str, Written] = {}
    notes: list[str] = []
    for name in settings.files:
        relative = f"{FOLDER}/{folder}/model{FORMATS[name].ending}"
        try:
            files[name] = export(
                tuned,
                locate(session.path, relative),
                tolerance=settings.tolerance,
                pictures=samples if isinstance(samples, Tensor) and is_enough else None,
            )
        except ExportError as error:
            # Only what was not asked for by name may be left out; not for want of space.
            is_refused = isinstance(error.__cause__, (CheckpointError, OSError))
            if name in settings.formats or is_refused:
                raise
            _logger.warning("export: no model.py for %s: %s", folder, error)
            notes.append(f"There is no model.py: {error}.")
    return files, notes


def _test_files(
    session: Session, member: Member, tuned: FinetunedSubnet, files: Mapping[str, Written]
) -> Iterator[tuple[str, ExportedFile]]:
    """Score each file on the test split, loaded as a user loads it, and say what it is.

    The front has opened that split already, and nothing is chosen here: a file that gives other
    metrics than the front states is an error. So is one of other metrics on the validation split
    than finetuning stated.
    """
    tests = session.batches(session.data.test)
    module = tuned.module.cpu()
    rounding = _ROUNDING if session.device.type == "cpu" else _ACCELERATOR_ROUNDING
    for name, file in files.items():
        path = file.path.relative_to(session.path).as_posix()
        weights = files.get("safetensors", file).path
        tolerance = max(rounding, 2 * file.max_difference)
        model = read_exported(module, name, file.path, weights=weights)
        score = score_model(model, tests, session.task, tolerance=tolerance)
        yield (
            name,
            ExportedFile(
                path=path,
                sha256=file.sha256,
                bytes=file.n_bytes,
                max_difference=file.max_difference,
                test=dict(score.metrics),
            ),
        )
        if not FORMATS[name].is_exact:
            continue
        check_exported(score, session.metric, member.test, file=path)
        if name == session.config.export.files[0]:
            batches = session.validation_batches
            seen = score_model(model, batches, session.task, tolerance=tolerance)
            check_exported(seen, session.metric, member.validation, file=path, split="validation")


def _write_card(session: Session, member: Member, model: ExportedModel) -> ExportedFile:
    config = session.config
    text = write_card(
        model,
        study=config.name,
        source=config.data.name,
        architecture=config.model.name,
        fingerprint=session.data.fingerprint,
        versions=package_versions(),
        full=session.blank_supernet.space.full,
        values=member.values_after,
        task=session.task.name,
    )
    relative = f"{FOLDER}/{member.folder}/{_CARD}"
    path = locate(session.path, relative)
    write_text(path, text)
    return ExportedFile(path=relative, sha256=hash_file(path), bytes=path.stat().st_size)
