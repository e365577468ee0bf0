"""Finetuning: extract a subnet, train it on with distillation from the full net, measure it.

What is delivered is what was scored: BatchNorm statistics are re-estimated on the extracted
module after the last step, and both accuracies are measured with statistics of that kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch import nn

from dpod_search.data import gather_images
from dpod_search.errors import ConfigError
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.teacher import make_teacher
from dpod_search.footprint import FootprintModel
from dpod_search.footprint import build_footprint
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import Candidate
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings
from dpod_search.training import rewind
from dpod_search.widths import Widths


Batches = Iterable[tuple[Tensor, Tensor]]


def finetune(
    subnet: Candidate | Subnet,
    train_loader: Batches,
    *,
    validation_loader: Batches | None = None,
    calibration_images: Tensor | None = None,
    calibration_batch_size: int = 1024,
    settings: FinetuneSettings | None = None,
    seed: int = 0,
    teacher: Teacher | None = None,
    checkpoint: CheckpointFile | None = None,
    progress: Progress | None = None,
) -> FinetunedSubnet:
    """Extract a subnet and finetune it with distillation from the full net.

    Args:
        subnet: A member of a front, or any subnet. Its supernet is not changed; it must hold
            the full net's BatchNorm statistics, as ``train_supernet`` leaves it.
        train_loader: Batches of pictures (N, *example_shape) and labels (N,).
        validation_loader: Batches that accuracy is measured on, before and after.
        calibration_images: What BatchNorm statistics are estimated on; by default those the
            supernet was trained with, else the loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        settings: How.
        seed: Seed of what the module itself draws, such as dropout.
        teacher: From ``make_teacher`` for the same supernet and loader, so that several subnets
            share its answers; by default one is made.
        checkpoint: Where the state is kept; finetuning goes on from it if it exists.
        progress: Who is told.

    Returns:
        The finetuned module.

    Raises:
        ConfigError: If the candidate has no supernet.
        TrainingError: If a loss or the gradients are not finite.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If a loader is empty.
    """
    chosen = settings or FinetuneSettings()
    held = subnet if isinstance(subnet, Subnet) else subnet.subnet
    if held is None:
        raise ConfigError(
            f"trial {subnet.trial} has no supernet to cut it from; give the member of a front "  # type: ignore[union-attr]  # a Candidate
            "that `search` returned, or a Subnet"
        )
    supernet, widths = held.supernet, held.widths
    images = calibration_images if calibration_images is not None else supernet.calibration_images
    if images is None:
        rewind(train_loader)
        images = gather_images(iter(train_loader), 512)
    evaluator = Evaluator(supernet, images, batch_size=calibration_batch_size)
    with evaluator.calibrated(widths) as calibrated_subnet:
        module = calibrated_subnet.extract()
        before = _measure(calibrated_subnet, validation_loader)
    is_channels_last = supernet.grouping.runs_channels_last
    place_module(module, device_of(supernet), is_channels_last=is_channels_last)
    footprint = build_footprint(supernet)
    if teacher is None and chosen.distillation > 0:
        rewind(train_loader)
        teacher = make_teacher(
            supernet, train_loader, n_views=chosen.n_views, precision=chosen.precision
        )
    loop = Loop(
        module=module,
        loader=train_loader if teacher is None else teacher.show_views(train_loader),
        n_epochs=chosen.epochs_of(_share_of_macs(footprint, supernet, widths)),
        learner=DistillationLearner(
            module, teacher, chosen.distillation, chosen.temperature, chosen.precision
        ),
        optimizer=OptimizerSettings.part_of(chosen, "finetune"),
        task="finetune",
        checkpoint=checkpoint,
        progress=progress or SilentProgress(),
        seed=seed,
    )
    history = loop.run()
    module.eval()
    calibrate(module, images, batch_size=calibration_batch_size)
    return FinetunedSubnet(
        module=module,
        widths=widths,
        footprint=footprint.measure(widths),
        input_shape=supernet.example_shape,
        accuracy_before=before,
        accuracy=_measure(module, validation_loader),
        history=tuple(history),
        seconds=loop.seconds,
    )


def _measure(model: nn.Module | Subnet, batches: Batches | None) -> float | None:
    return None if batches is None else measure_accuracy(model, batches)


def _share_of_macs(footprint: FootprintModel, supernet: Supernet, widths: Widths) -> float:
    full = footprint.measure(supernet.space.full)["macs"]
    return footprint.measure(widths)["macs"] / full if full else 1.0
