"""The first stage: train the supernet, and keep its weights, its path and its history."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dpod_search.api import train_supernet
from dpod_search.evaluation import Evaluator
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import write_json
from dpod_search.pipeline.session import Session
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
from dpod_search.weights import save_weights


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the trained weights depend on."""
    config = session.config
    default = TrainingSettings()
    # These two change how fast it goes, and not one weight.
    training = dataclasses.replace(
        config.training,
        n_workers=default.n_workers,
        checkpoint_seconds=default.checkpoint_seconds,
    )
    inputs = {
        "seed": config.seed,
        "device": config.device,
        "data": session.data.fingerprint,
        "training": dataclasses.asdict(training),
        **{
            section: dataclasses.asdict(getattr(config, section))
            for section in ("model", "supernet", "evaluation")
        },
    }
    if config.model.weights is not None:
        inputs["weights"] = hash_file(Path(config.model.weights).expanduser())
    return inputs


def run(session: Session) -> list[str]:
    """Train, from the checkpoint if there is one; return the files written."""
    settings = session.config.training
    checkpoint = _checkpoint(session)
    supernet = session.blank_supernet
    result = train_supernet(
        supernet,
        session.training_loader(settings.batch_size),
        settings=settings,
        scoring_loader=session.scoring_batches,
        calibration_images=session.calibration_images,
        seed=session.seed,
        checkpoint=checkpoint,
        progress=session.progress,
    )
    save_weights(session.path / "supernet.safetensors", supernet.net)
    _write_path(session, result)
    write_json(
        session.path / "training.json",
        {
            "seconds": result.seconds,
            "n_steps": result.n_steps,
            "macs": result.macs,
            "policy": settings.policy,
            "history": list(result.history),
            "full": {
                "accuracy": Evaluator(supernet, session.calibration_images)
                .evaluate(supernet.space.full, session.validation_batches)
                .accuracy
            },
            "data": session.data.summary(),
        },
    )
    return ["supernet.safetensors", "training.json", "path.json"]


def clean_up(session: Session) -> None:
    """Delete the checkpoint; before the stage is marked as ended it is all that a kill leaves."""
    _checkpoint(session).remove()


def _checkpoint(session: Session) -> CheckpointFile:
    return CheckpointFile(
        session.path / "training.checkpoint.safetensors",
        key=hash_value(describe_inputs(session)),
        every_seconds=session.config.training.checkpoint_seconds,
    )


def _write_path(session: Session, result: TrainingResult) -> None:
    evaluator = Evaluator(session.blank_supernet, session.calibration_images)
    profiles = [
        {
            "widths": dict(widths),
            "macs": session.footprint.measure(widths)["macs"],
            "accuracy": evaluator.evaluate(widths, session.validation_batches).accuracy,
        }
        for widths in result.path
    ]
    write_json(session.path / "path.json", {"profiles": profiles})
