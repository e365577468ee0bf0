"""The fourth stage: export the finetuned subnets and say in a manifest what they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

from dpod_search.errors import CheckpointError
from dpod_search.export import FORMATS
from dpod_search.export import export
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.pipeline.environment import package_versions
from dpod_search.pipeline.finetuning import read_finetuned
from dpod_search.pipeline.session import Session


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the exported files depend on."""
    front = session.folder.require("front.json", "finetune")
    # Other weights may well have the same accuracies, which is all that the front says of them.
    weights = [
        f"finetuned/{member['folder']}/model.safetensors" for member in read_json(front)["members"]
    ]
    return {
        "front": hash_file(front),
        "weights": [hash_file(session.folder.require(name, "finetune")) for name in weights],
        "export": dataclasses.asdict(session.config.export),
    }


def run(session: Session) -> list[str]:
    """Export every member of the front; return the files written."""
    front = read_json(session.folder.require("front.json", "finetune"))
    members = front["members"]
    session.progress.start("export", len(members))
    models = []
    for member in members:
        models.append(_export_one(session, member))
        session.progress.advance(1, f"trial {member['folder']}")
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


def _export_one(session: Session, member: dict[str, Any]) -> dict[str, Any]:
    settings = session.config.export
    widths = session.blank_supernet.space.make(member["widths"])
    tuned = read_finetuned(session, member["folder"], widths)
    files = {}
    difference = 0.0
    for name in settings.formats:
        relative = f"exported/{member['folder']}/model{FORMATS[name].ending}"
        written = export(tuned, session.path / relative, tolerance=settings.tolerance)
        files[name] = {"path": relative, "sha256": written.sha256, "bytes": written.n_bytes}
        difference = max(difference, written.max_difference)
    return {
        "trial": member["trial"],
        "widths": member["widths"],
        **tuned.footprint,
        "validation_accuracy": member["validation_accuracy"],
        "test_accuracy": member["test_accuracy"],
        "files": files,
        "max_difference": difference,
        "input_shape": list(tuned.input_shape),
        "classes": list(session.data.class_names),
    }
