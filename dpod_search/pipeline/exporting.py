"""The fourth stage: export the finetuned subnets and say in a manifest what they are."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

from dpod_search.errors import CheckpointError
from dpod_search.errors import ExportError
from dpod_search.export import FORMATS
from dpod_search.export import export
from dpod_search.export import read_exported
from dpod_search.export.onnx import check_onnx
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.files import write_text
from dpod_search.finetune import FinetunedSubnet
from dpod_search.pipeline.delivering import read_finetuned
from dpod_search.pipeline.environment import package_versions
from dpod_search.pipeline.model_card import describe_input
from dpod_search.pipeline.model_card import write_card
from dpod_search.pipeline.scores import check_delivered
from dpod_search.pipeline.scores import count_right
from dpod_search.pipeline.session import Session
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.record import locate


_logger = logging.getLogger(__name__)

# Goes up when this stage writes more than it did, so that older folders are exported again.
_LAYOUT = 2
# Logits of two runs of one model differ by this much, relative to the largest; and by this much
# if the front was scored on an accelerator.
_ROUNDING = 1e-5
_ACCELERATOR_ROUNDING = 1e-2
_CARD = "README.md"
_N_COMPARED = 5  # fewest pictures that a file can be compared on


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the exported files depend on."""
    digest = session.folder.require_hash(FinetunedFront.FILE, "finetune")
    members = FinetunedFront.read(session.path).members
    # Other weights may well have the same accuracies, which is all that the front says of them.
    weights = [f"finetuned/{member.folder}/model.safetensors" for member in members]
    return {
        "front": digest,
        "weights": [session.folder.require_hash(name, "finetune") for name in weights],
        "export": dataclasses.asdict(session.config.export),
        "layout": _LAYOUT,
    }


def run(session: Session) -> list[str]:
    """Export every member of the front; return the files written."""
    session.folder.require(FinetunedFront.FILE, "finetune")
    members = FinetunedFront.read(session.path).members
    check_onnx(session.config.export.formats)
    session.progress.start("export", len(members))
    models = []
    for member in members:
        models.append(_export_one(session, member))
        session.progress.advance(1, f"trial {member.folder}")
    session.progress.finish()
    files = [file for model in models for file in model["files"].values()]
    _remove_stale(session.path, {file["path"] for file in files})
    manifest = {
        "study": session.config.name,
        "data": session.data.fingerprint,
        "versions": package_versions(),
        "models": models,
    }
    write_json(session.path / "exported" / "manifest.json", manifest)
    return [*(file["path"] for file in files), "exported/manifest.json"]


def _remove_stale(folder: Path, kept: Collection[str]) -> None:
    """Delete what an earlier export wrote and this one did not write again.

    Args:
        folder: The run folder; the manifest in it is still that of the earlier export.
        kept: Files that this one wrote, relative to the folder.
    """
    for name, digest in _list_exported(folder / "exported" / "manifest.json"):
        file = folder / name
        # What was put in its place is the user's own, and so is whatever lies beside it.
        if name not in kept and file.is_file() and hash_file(file) == digest:
            file.unlink()
            with suppress(OSError):  # not empty
                file.parent.rmdir()


def _list_exported(manifest: Path) -> list[tuple[str, str]]:
    """Return the files that a manifest names, with their hashes; none if it cannot be read."""
    try:
        models = read_json(manifest)["models"]
        files = [file for model in models for file in model["files"].values()]
        named = [(file["path"], file["sha256"]) for file in files]
    except (CheckpointError, OSError, KeyError, TypeError, AttributeError):
        return []
    return [(name, digest) for name, digest in named if _is_exported(name)]


def _is_exported(name: str) -> bool:
    """Say whether a path is one that this stage writes to: ``exported/<member>/<file>``."""
    parts = PurePosixPath(name).parts
    return len(parts) == 3 and parts[0] == "exported" and ".." not in parts


def _export_one(session: Session, member: Member) -> dict[str, Any]:
    widths = session.blank_supernet.space.make(member.widths)
    tuned = read_finetuned(session, member.folder, widths)
    files, notes = _write_files(session, member.folder, tuned)
    uncounted = session.blank_supernet.grouping.uncounted
    if uncounted:
        # Without the lines of code, which are paths of this machine.
        names = ", ".join(dict.fromkeys(where.partition(" (")[0] for where in uncounted))
        notes.append(f"Its macs are without those of {names}: no closed form counts them.")
    try:
        _test_files(session, member, tuned, files)
    except ExportError:
        for file in files.values():  # nobody should take them home
            (session.path / file["path"]).unlink()
        raise
    exact = [files[name]["max_difference"] for name in files if FORMATS[name].is_exact]
    model = {
        "trial": member.trial,
        "widths": dict(member.widths),
        **tuned.footprint,
        "footprint": dict(tuned.footprint),
        "validation_accuracy_before": member.validation_accuracy_before,
        "validation_accuracy": member.validation_accuracy,
        "test_accuracy": member.test_accuracy,
        "files": files,
        "notes": notes,
        "max_difference": max(exact, default=0.0),
        "input": {
            "shape": list(tuned.input_shape),
            **describe_input(session.data.test, source=session.config.data.name),
            "classes": list(session.data.class_names),
        },
        "input_shape": list(tuned.input_shape),
        "classes": list(session.data.class_names),
    }
    files["card"] = _write_card(session, member, model)
    return model


def _write_files(
    session: Session, folder: str, tuned: FinetunedSubnet
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write every format; a net that cannot be written as code is a note and no failure."""
    settings = session.config.export
    files: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for name in settings.files:
        relative = f"exported/{folder}/model{FORMATS[name].ending}"
        try:
            written = export(
                tuned,
                locate(session.path, relative),
                tolerance=settings.tolerance,
                pictures=_pictures(session),
            )
        except ExportError as error:
            # Only what was not asked for by name may be left out; not for want of space.
            is_refused = isinstance(error.__cause__, (CheckpointError, OSError))
            if name in settings.formats or is_refused:
                raise
            _logger.warning("export: no model.py for %s: %s", folder, error)
            notes.append(f"There is no model.py: {error}.")
            continue
        files[name] = {
            "path": relative,
            "sha256": written.sha256,
            "bytes": written.n_bytes,
            "max_difference": written.max_difference,
        }
    return files, notes


def _pictures(session: Session) -> Any:
    pictures = session.calibration_images
    return pictures if len(pictures) >= _N_COMPARED else None


def _test_files(
    session: Session,
    member: Member,
    tuned: FinetunedSubnet,
    files: dict[str, dict[str, Any]],
) -> None:
    """Score each file on the test split, loaded as a user loads it.

    The front has opened that split already, and nothing is chosen here: a file that gives another
    accuracy than the front states is an error. So is one of another accuracy on the validation
    split than finetuning stated.
    """
    tests = session.batches(session.data.test)
    module = tuned.module.cpu()
    rounding = _ROUNDING if session.device.type == "cpu" else _ACCELERATOR_ROUNDING
    for name, file in files.items():
        weights = session.path / file["path"]
        if "safetensors" in files:
            weights = session.path / files["safetensors"]["path"]
        tolerance = max(rounding, 2 * file["max_difference"])
        model = read_exported(module, name, session.path / file["path"], weights=weights)
        count = count_right(model, tests, tolerance=tolerance)
        file["test_accuracy"] = count.accuracy
        if not FORMATS[name].is_exact:
            continue
        check_delivered(count, stated=member.test_accuracy, file=file["path"])
        if name == session.config.export.files[0]:
            seen = count_right(model, session.validation_batches, tolerance=tolerance)
            stated = member.validation_accuracy
            check_delivered(seen, stated=stated, file=file["path"], split="validation")


def _write_card(session: Session, member: Member, model: dict[str, Any]) -> dict[str, Any]:
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
    )
    relative = f"exported/{member.folder}/{_CARD}"
    path = locate(session.path, relative)
    write_text(path, text)
    return {"path": relative, "sha256": hash_file(path), "bytes": path.stat().st_size}
