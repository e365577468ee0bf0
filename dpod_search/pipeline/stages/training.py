"""The first stage: train the supernet, and keep its weights, its path and its history."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import torch

from dpod_search.callbacks import OnlyWithin
from dpod_search.data.datasets import fetch_batch
from dpod_search.evaluation import Evaluator
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.latency.request import check_timeable
from dpod_search.pipeline.session import WEIGHTS
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import oneshot
from dpod_search.pipeline.stages.chance import describe_chance
from dpod_search.pipeline.stages.purpose import check_finite
from dpod_search.pipeline.stages.purpose import describe_purpose
from dpod_search.placement import evaluating
from dpod_search.placement import placement_of
from dpod_search.records.training import Pictures
from dpod_search.records.training import Profile
from dpod_search.records.training import ShrinkingPath
from dpod_search.records.training import TrainedNet
from dpod_search.records.training import Training
from dpod_search.records.training import list_steps
from dpod_search.supernet import Supernet
from dpod_search.tasks.asking import ask_loss
from dpod_search.tasks.asking import check_metrics
from dpod_search.tasks.batches import read_batch
from dpod_search.training import CheckpointFile
from dpod_search.training import Ranks
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
from dpod_search.training import joined_ranks
from dpod_search.training import train_supernet
from dpod_search.training.precision import compute_outputs
from dpod_search.weights import save_weights


_logger = logging.getLogger(__name__)

_CHECKPOINT = "training.checkpoint.safetensors"

# What the first rank tells the others to do.
_TRAIN, _SKIP = "train", "skip"


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
        **session.describe_task(),
        **{
            section: dataclasses.asdict(getattr(config, section))
            for section in ("model", "supernet", "evaluation")
        },
    }
    if config.oneshot.method:
        inputs["oneshot"] = [
            oneshot.find_criterion(config.oneshot.method),
            config.oneshot.n_batches,
        ]
    if config.model.files:
        inputs["weights"] = [hash_file(file) for file in config.model.files]
    return inputs


def run(session: Session, inputs: Mapping[str, Any]) -> list[str]:
    """Train, from the checkpoint if there is one; return the files written.

    Under ``torchrun`` this is the first rank's part: the others wait for its word, and
    :func:`follow`.
    """
    config, settings = session.config, session.config.training
    supernet = session.blank_supernet
    with joined_ranks(session.config.device) as ranks:
        takes_weights = settings.epochs == 0 or (
            bool(config.oneshot.method) and config.model.is_trained
        )
        ranks.share(_SKIP if takes_weights else _TRAIN)
        if takes_weights:
            result = _take_weights(supernet)
        else:
            checkpoint = CheckpointFile(
                session.path / _CHECKPOINT,
                key=hash_value(dict(inputs)),
                every_seconds=settings.checkpoint_seconds,
            )
            result = _train(session, ranks, checkpoint)
    if config.oneshot.method or settings.epochs == 0:
        oneshot.order_units(session)
    save_weights(session.path / WEIGHTS, supernet.net)
    metrics = _write_path(session, result)
    data = Pictures(**session.data.summary())
    warning = describe_chance(
        session.task, metrics, data.n_classes, noun=data.noun, is_trained=result.n_steps > 0
    )
    if warning:
        _logger.warning("train: %s", warning)
    Training(
        seconds=result.seconds,
        n_steps=result.n_steps,
        macs=result.macs,
        scoring_macs=result.scoring_macs,
        policy=settings.policy,
        n_ranks=ranks.n_ranks,
        history=list_steps(result.history),
        full=TrainedNet(metrics=metrics),
        data=data,
        task=describe_purpose(session.task),
        warning=warning,
    ).write(session.path)
    return [WEIGHTS, Training.FILE, ShrinkingPath.FILE]


def check_task(session: Session) -> None:
    """Check that the task can read what the model answers to two samples, and their targets.

    Raises:
        ConfigError: If it cannot, or its loss is no scalar.
        DataError: If targets do not fit, or there are no data.
        GroupingError: If the model cannot be made a supernet.
    """
    supernet, task = session.blank_supernet, session.task
    if "latency_ms" in session.config.search.objectives:
        check_timeable(supernet)
    dataset = session.data.train
    session.training_loader(session.config.training.batch_size)  # complains of augmentation
    samples, targets = read_batch(fetch_batch(dataset, range(min(len(dataset), 2))))
    with torch.no_grad(), evaluating(supernet):
        outputs = compute_outputs(supernet, placement_of(supernet).put(samples), task)
        smoothing = session.config.training.label_smoothing
        there = targets.to(outputs.device)
        ask_loss(task, outputs, there, label_smoothing=smoothing)
        check_metrics(task, outputs, there)


def dismiss(session: Session) -> None:
    """Tell the other ranks, if there are any, that nothing is left to train."""
    with joined_ranks(session.config.device) as ranks:
        ranks.share(_SKIP)


def follow(session: Session) -> None:
    """Train as one of the other ranks, if the first one trains; the run folder is not touched."""
    with joined_ranks(session.config.device) as ranks:
        # Until then the first one may be downloading the pictures.
        if ranks.share(None) == _TRAIN:
            _train(session, ranks, None)


def clean_up(session: Session) -> None:
    """Delete the checkpoint; before the stage is marked as ended it is all that a kill leaves."""
    (session.path / _CHECKPOINT).unlink(missing_ok=True)


def _train(session: Session, ranks: Ranks, checkpoint: CheckpointFile | None) -> TrainingResult:
    settings = session.config.training
    return train_supernet(
        session.blank_supernet,
        session.training_loader(settings.batch_size, ranks),
        settings=settings,
        scoring_loader=session.scoring_batches,
        calibration_images=session.calibration_images,
        calibration_batch_size=session.config.evaluation.batch_size,
        seed=session.seed,
        checkpoint=checkpoint,
        progress=session.progress,
        task=session.task,
        callbacks=[OnlyWithin(session.callbacks)],  # whoever runs the stage tells its end
    )


def _take_weights(supernet: Supernet) -> TrainingResult:
    """Return what a training leaves behind that trains nothing: the weights are given."""
    supernet.eval()
    return TrainingResult(
        (supernet.space.full,), (), n_steps=0, seconds=0.0, macs=0.0, scoring_macs=0.0
    )


def _write_path(session: Session, result: TrainingResult) -> dict[str, float]:
    """Write the path with its metrics on validation; return those of the full net."""
    evaluator = Evaluator(
        session.blank_supernet,
        session.calibration_images,
        batch_size=session.config.evaluation.batch_size,
    )
    # The full net begins the path: each is evaluated once.
    full = session.blank_supernet.space.full
    batches = session.validation_batches
    measured = {
        widths: check_finite(
            evaluator.evaluate(widths, batches, session.task).metrics,
            "the full net" if widths == full else f"the subnet {widths}",
            "validation",
        )
        for widths in dict.fromkeys([full, *result.path])
    }
    profiles = tuple(
        Profile(
            widths=dict(widths),
            macs=int(session.footprint.measure(widths)["macs"]),
            metrics=measured[widths],
        )
        for widths in result.path
    )
    ShrinkingPath(profiles=profiles).write(session.path)
    return measured[full]
