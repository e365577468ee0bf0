"""The fourth stage: export the finetuned subnets and say in a manifest what they are."""

from __future__ import annotations

import dataclasses
from typing import Any

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
    manifest = {
        "study": session.config.name,
        "data": session.data.fingerprint,
        "versions": package_versions(),
        "models": models,
    }
    write_json(session.path / "exported" / "manifest.json", manifest)
    files = [file["path"] for model in models for file in model["files"].values()]
    return [*files, "exported/manifest.json"]


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
