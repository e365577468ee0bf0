"""Finetuning: extract a subnet, train it on with distillation from the full net, measure it.

What is delivered is what was scored: BatchNorm statistics are re-estimated on the extracted
module after the last step, and both accuracies are measured with statistics of that kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dpod_search.bars import Audience
from dpod_search.bars import watched
from dpod_search.callbacks import Callback
from dpod_search.callbacks import Callbacks
from dpod_search.data import gather_images
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.evaluation import make_evaluator
from dpod_search.finetune.chain import inherit
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.job import FinetuneContext
from dpod_search.finetune.job import FinetuneJob
from dpod_search.finetune.job import measure
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.teacher import make_teacher
from dpod_search.finetune.tuner import Tuner
from dpod_search.footprint import build_footprint
from dpod_search.inputs import Samples
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.supernet import Subnet
from dpod_search.tasks import Task
from dpod_search.tasks import resolve_task
from dpod_search.training import CheckpointFile
from dpod_search.training import rewind
from dpod_search.training.batches import count_batches


def finetune(
    subnet: Candidate | Subnet,
    train_loader: Batches,
    *,
    validation_loader: Batches | None = None,
    calibration_images: Samples | None = None,
    calibration_batch_size: int = 1024,
    settings: FinetuneSettings | None = None,
    seed: int = 0,
    teacher: Teacher | None = None,
    repair: bool = False,
    task: str | Task = "classification",
    tuner: Tuner | str | None = None,
    checkpoint: CheckpointFile | None = None,
    progress: Audience = "auto",
    callbacks: Iterable[Callback] = (),
) -> FinetunedSubnet:
    """Extract a subnet and finetune it with distillation from the full net.

    Args:
        subnet: A member of a front, or any subnet. Its supernet is not changed; it must hold
            the full net's BatchNorm statistics, as ``train_supernet`` leaves it.
        train_loader: Batches of samples (N, *example_shape) and the task's targets.
        validation_loader: Batches that its metrics are measured on, before and after.
        calibration_images: What BatchNorm statistics are estimated on; by default those the
            supernet was trained with, else the loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        settings: How.
        seed: Seed of what the module itself draws, such as dropout.
        teacher: From ``make_teacher`` for the same supernet and loader, so that several subnets
            share its answers; by default one is made.
        repair: Whether it is measured before after a closed-form repair, as ``search`` did.
        task: What the supernet was trained for, as for ``train_supernet``.
        tuner: Trains in place of our loop, without checkpoints: called with the module and a
            :class:`~dpod_search.finetune.TunerContext`, it returns the module, trained. A callable
            or its import path; overrides ``settings.tuner``.
        checkpoint: Where the state is kept; finetuning goes on from it if it exists.
        progress: Who is told; ``"auto"`` draws bars in a terminal and a line in a notebook, and
            nothing elsewhere; None draws nothing.
        callbacks: Who is told of each step of our loop, and of the end.

    Returns:
        The finetuned module.

    Raises:
        ConfigError: If the candidate has no supernet, the teacher was made for another loader,
            the settings want pictures or feature maps that are not there, or the model returns
            what the task cannot read; if the tuner returns another module.
        TrainingError: If a loss or the gradients are not finite, or the tuner raises.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If a loader is empty, or targets do not fit.
    """
    context = FinetuneContext(
        train_loader,
        validation_loader,
        calibration_images,
        calibration_batch_size,
        settings or FinetuneSettings(),
        seed,
        teacher,
        repair,
        resolve_task(task),
        tuner,
    )
    told = Callbacks(callbacks)
    job = prepare_finetuning(subnet, context, checkpoint)
    with watched(progress) as bars:
        tuned = job.run(bars, told.steps_of("finetune"))
    told.on_stage("finetune", tuned.seconds, tuned.figures)
    return tuned


def prepare_finetuning(
    subnet: Candidate | Subnet,
    context: FinetuneContext,
    checkpoint: CheckpointFile | None = None,
    *,
    parent: FinetunedSubnet | None = None,
) -> FinetuneJob:
    """Extract a subnet, and gather what finetuning it takes.

    Args:
        subnet: As for :func:`finetune`, whose errors these are.
        context: What it shares with other subnets.
        checkpoint: Where the state is kept.
        parent: A finetuned subnet of the same supernet, no narrower anywhere, to cut it from in
            place of the supernet.
    """
    held = find_subnet(subnet)
    supernet, widths, loader = held.supernet, held.widths, context.train_loader
    images = context.calibration_images
    if images is None:
        images = supernet.calibration_images
    if images is None:
        rewind(loader)
        images = gather_images(iter(loader), 512)
    size = context.calibration_batch_size
    evaluator = make_evaluator(supernet, images, batch_size=size, repair=context.repair)
    with evaluator.calibrated(widths) as measured_subnet:
        module = measured_subnet.extract()
        before = measure(measured_subnet, context)
    model = build_footprint(supernet)
    footprint = model.measure(widths)
    full_macs = model.measure(supernet.space.full)["macs"]
    macs_share = footprint["macs"] / full_macs if full_macs else 1.0
    begins_repaired = context.repair and _is_short(context, macs_share)
    if context.settings.epochs > 0 and (parent is not None or begins_repaired != context.repair):
        begun = supernet if parent is None else inherit(supernet, parent)
        target = None if parent is None else parent.widths
        evaluator = make_evaluator(
            begun, images, batch_size=size, repair=begins_repaired, target=target
        )
        with evaluator.calibrated(widths) as calibrated_subnet:
            module = calibrated_subnet.extract()
    is_channels_last = supernet.grouping.runs_channels_last
    place_module(module, device_of(supernet), is_channels_last=is_channels_last)
    teacher = context.teacher or make_teacher(
        supernet, loader, context.settings, task=context.task
    )
    return FinetuneJob(
        FinetunedSubnet(module, widths, footprint, supernet.example_shape, before),
        macs_share=macs_share,
        context=replace(context, calibration_images=images, teacher=teacher),
        checkpoint=checkpoint,
    )


def _is_short(context: FinetuneContext, macs_share: float) -> bool:
    """Say whether a subnet is trained for so few steps that it should begin repaired."""
    n_epochs = context.settings.epochs_of(macs_share)
    if n_epochs == 0 or context.settings.repair_steps == 0:
        return n_epochs == 0
    return n_epochs * count_batches(context.train_loader) < context.settings.repair_steps


def find_subnet(subnet: Candidate | Subnet) -> Subnet:
    """Return the subnet of a candidate.

    Raises:
        ConfigError: If it has no supernet.
    """
    if isinstance(subnet, Subnet):
        return subnet
    if isinstance(subnet, Front):
        raise ConfigError(
            "finetune takes one subnet, got a whole front; use finetune_all, or choose a member "
            "with front.under(...)"
        )
    if not isinstance(subnet, Candidate):
        raise ConfigError(
            f"finetune takes one subnet, got a {type(subnet).__name__}; give a member of a front, "
            "or Subnet(supernet, widths)"
        )
    if subnet.subnet is None:
        raise ConfigError(
            f"trial {subnet.trial} has no supernet to cut it from; give the member of a front "
            "that `search` returned, or a Subnet"
        )
    return subnet.subnet
