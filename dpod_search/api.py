"""The verbs of the Python API that join several rooms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from dpod_search.data import gather_images
from dpod_search.evaluation import Judge
from dpod_search.evaluation import calibrate
from dpod_search.footprint import build_footprint
from dpod_search.progress import Progress
from dpod_search.supernet import Supernet
from dpod_search.supernet.supernet import check_supernet
from dpod_search.training import CheckpointFile
from dpod_search.training import MakePolicy
from dpod_search.training import Ranks
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
from dpod_search.training import rewind
from dpod_search.training import train_supernet as train_with_policy


Batches = Iterable[tuple[Tensor, Tensor]]


def train_supernet(
    supernet: Supernet,
    train_loader: Batches,
    *,
    policy: str | MakePolicy | None = None,
    epochs: int | None = None,
    settings: TrainingSettings | None = None,
    scoring_loader: Batches | None = None,
    calibration_images: Tensor | None = None,
    calibration_batch_size: int = 1024,
    seed: int = 0,
    checkpoint: CheckpointFile | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a supernet once, in place, so that all its subnets work.

    Afterwards the supernet is in evaluation mode at full width, holds the full net's BatchNorm
    statistics, and remembers the calibration pictures for the search and for finetuning.

    In a script under ``torchrun`` with a process group, all ranks call it, each with its share of
    every batch, and train the supernet together; go on with the first rank alone.

    Args:
        supernet: From ``build_supernet``, on its device.
        train_loader: Batches of pictures (N, C, H, W) and labels (N,).
        policy: Which subnets each step trains, by name or as a class of your own, called with a
            ``PolicyContext`` (bind options of its own with ``functools.partial``); overrides
            ``settings.policy``.
        epochs: Passes over the loader; overrides ``settings.epochs``.
        settings: How, otherwise.
        scoring_loader: Labelled pictures that judge the shrinks of the path. Pictures kept
            apart from training are better; by default the loader's own first batches are used.
        calibration_images: Pictures that BatchNorm statistics are estimated on; by default the
            loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        seed: Seed of the policy's choices.
        checkpoint: Where the state is kept; training goes on from it if it exists.
        progress: Who is told.

    Returns:
        The path and the history.

    Raises:
        ConfigError: If the policy or a setting is not known or out of range, or the model does
            not return one logit a class.
        TrainingError: If a loss or the gradients are not finite, or another rank was lost.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If the loader is empty, or labels are no classes of the model.
    """
    check_supernet(supernet)
    chosen = settings or TrainingSettings()
    if isinstance(policy, str):
        chosen = replace(chosen, policy=policy)
    if epochs is not None:
        chosen = replace(chosen, epochs=epochs)
    rewind(train_loader)  # where an interrupted training left it, other pictures would judge
    if calibration_images is None:
        calibration_images = gather_images(iter(train_loader), 512)
    supernet.calibration_images = calibration_images
    judged = scoring_loader if scoring_loader is not None else _first_batches(train_loader, 512)
    judge = Judge(supernet, calibration_images, judged, batch_size=calibration_batch_size)
    footprint = build_footprint(supernet)
    result = train_with_policy(
        supernet,
        train_loader,
        chosen,
        cost=lambda widths: footprint.measure(widths)["macs"],
        score=judge,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
        policy=None if isinstance(policy, str) else policy,
        n_scored=judge.n_images,
    )
    calibrate(supernet, calibration_images, batch_size=calibration_batch_size)
    Ranks.joined().share_tensors(supernet)  # whose pictures for calibration may differ
    return result


def _first_batches(loader: Batches, n_images: int) -> list[tuple[Tensor, Tensor]]:
    batches: list[tuple[Tensor, Tensor]] = []
    for images, labels in loader:
        batches.append((torch.as_tensor(images), labels))
        if sum(len(batch) for batch, _ in batches) >= n_images:
            break
    return batches
