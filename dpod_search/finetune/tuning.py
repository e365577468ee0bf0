"""Finetuning: extract a subnet, train it on with distillation from the full net, measure it.

What is delivered is what was scored: BatchNorm statistics are re-estimated on the extracted
module after the last step, and both accuracies are measured with statistics of that kind.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from torch import nn

from dpod_search.callbacks import Callback
from dpod_search.callbacks import Callbacks
from dpod_search.callbacks import OnStep
from dpod_search.data import gather_images
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import make_evaluator
from dpod_search.evaluation import measure_metrics
from dpod_search.finetune.attention import find_stages
from dpod_search.finetune.chain import inherit
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.teacher import make_teacher
from dpod_search.finetune.tuner import Tuner
from dpod_search.finetune.tuner import TunerContext
from dpod_search.finetune.tuner import resolve_tuner
from dpod_search.finetune.tuner import tune
from dpod_search.footprint import build_footprint
from dpod_search.inputs import Samples
from dpod_search.inputs import take_samples
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.placement import placement_of
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.supernet import Subnet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks import resolve_task
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import rewind
from dpod_search.training.batches import count_batches
from dpod_search.training.stopping import EarlyStop


@dataclass(frozen=True, eq=False)
class FinetuneContext:
    """What the finetuning of all subnets of a supernet has in common.

    Args:
        train_loader: Batches of samples (N, *example_shape) and the task's targets.
        validation_loader: Batches that its metrics are measured on, before and after.
        calibration_images: What BatchNorm statistics are estimated on; by default those the
            supernet was trained with, else the loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        settings: How.
        seed: Seed of what the modules themselves draw.
        teacher: The full net; by default one is made for each subnet, if it has a say.
        repair: Whether subnets are measured before after a closed-form repair, as in the search;
            ``settings.repair_steps`` says what is trained on repaired, too.
        task: What the supernet was trained for.
        tuner: What trains in place of our loop, a callable or its import path; overrides
            ``settings.tuner``.
    """

    train_loader: Batches
    validation_loader: Batches | None = None
    calibration_images: Samples | None = None
    calibration_batch_size: int = 1024
    settings: FinetuneSettings = field(default_factory=FinetuneSettings)
    seed: int = 0
    teacher: Teacher | None = None
    repair: bool = False
    task: Task = field(default_factory=Classification)
    tuner: Tuner | str | None = None

    def __post_init__(self) -> None:
        """Check the tuner before anything is done."""
        tuner = self.tuner if self.tuner is not None else self.settings.tuner
        if tuner is not None:
            resolve_tuner(tuner)


@dataclass(frozen=True, eq=False)
class FinetuneJob:
    """All that finetuning one subnet takes; another process can do it.

    Args:
        start: The subnet as it was extracted; its module is trained in place.
        macs_share: Its macs over those of the full net, in (0, 1].
        context: What it shares with other subnets, pictures and teacher chosen.
        checkpoint: Where the state is kept.
    """

    start: FinetunedSubnet
    macs_share: float
    context: FinetuneContext
    checkpoint: CheckpointFile | None = None

    @property
    def n_epochs(self) -> float:
        """Passes over the loader; the last one may be a part."""
        return self.context.settings.epochs_of(self.macs_share)

    @property
    def has_tuner(self) -> bool:
        """Whether the user's own code trains, in place of our loop."""
        return self._tuner is not None

    @property
    def _tuner(self) -> Tuner | str | None:
        given = self.context.tuner
        return self.context.settings.tuner if given is None else given

    def run(
        self, progress: Progress | None = None, on_step: OnStep | None = None
    ) -> FinetunedSubnet:
        """Train the module, calibrate it and measure it.

        Args:
            progress: Who is told.
            on_step: Called after each step of our loop.

        Raises:
            ConfigError: If the settings want pictures, feature maps or a teacher that are not there,
                or a tuner returns another module.
            TrainingError: If a loss or the gradients are not finite, or a tuner raises.
            CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        """
        context, module = self.context, self.start.module
        if self.n_epochs == 0:
            return replace(self.start, metrics=self._deliver(module))
        if self._tuner is not None:
            return self._run_tuner(resolve_tuner(self._tuner), progress or SilentProgress())
        teacher, loader, settings = context.teacher, context.train_loader, context.settings
        loop = Loop(
            module=module,
            loader=loader if teacher is None else teacher.show_views(loader),
            n_epochs=self.n_epochs,
            learner=DistillationLearner(
                module, teacher, settings, self._find_stages(), context.task
            ),
            optimizer=settings,
            task="finetune",
            checkpoint=self.checkpoint,
            progress=progress or SilentProgress(),
            seed=context.seed,
            early_stop=self._make_early_stop(),
            on_step=on_step,
        )
        history = loop.run()
        return replace(
            self.start,
            metrics=self._deliver(module),
            history=tuple(history),
            seconds=loop.seconds,
        )

    def _run_tuner(self, tuner: Tuner, progress: Progress) -> FinetunedSubnet:
        context, module, start = self.context, self.start.module, time.monotonic()
        progress.start("finetune", 1)
        rewind(context.train_loader)
        tune(
            tuner,
            module,
            TunerContext(
                context.train_loader,
                context.validation_loader,
                self._images,
                context.task,
                context.seed,
                self.n_epochs,
                self.macs_share,
                None if context.teacher is None else context.teacher.full_net,
            ),
        )
        seconds = time.monotonic() - start
        progress.advance()
        progress.finish()
        return replace(self.start, metrics=self._deliver(module), seconds=seconds)

    @property
    def _images(self) -> Samples:
        assert self.context.calibration_images is not None
        return self.context.calibration_images

    def _find_stages(self) -> tuple[str, ...]:
        """Return the layers that are compared with the teacher's."""
        module, features = self.start.module, self.context.settings.features
        if features == 0:
            return ()
        stages = find_stages(
            module, placement_of(module).put(take_samples(self._images, slice(2)))
        )
        if not stages:
            raise ConfigError(
                f"finetune.features = {features:g} compares feature maps "
                "(N, C, H, W), and this net has none; set it to 0"
            )
        return stages

    def _make_early_stop(self) -> EarlyStop | None:
        if self.context.settings.patience == 0:
            return None
        if self.context.validation_loader is None:
            raise ConfigError(
                "finetune.patience needs pictures to look at; give a validation_loader, or set it to 0"
            )

        first = self.context.task.metrics[0]

        def measure(module: nn.Module) -> float:
            found = self._deliver(module)
            assert found is not None
            return first.gain(found[first.name])

        return EarlyStop(measure, self.context.settings.patience)

    def _deliver(self, module: nn.Module) -> Mapping[str, float] | None:
        """Bring a trained module into the state that is delivered, and measure that."""
        module.eval()
        calibrate(module, self._images, batch_size=self.context.calibration_batch_size)
        return _measure(module, self.context)


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
    progress: Progress | None = None,
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
        progress: Who is told.
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
    tuned = job.run(progress, told.steps_of("finetune"))
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
        before = _measure(measured_subnet, context)
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


def _measure(model: nn.Module | Subnet, context: FinetuneContext) -> Mapping[str, float] | None:
    batches = context.validation_loader
    return None if batches is None else measure_metrics(model, batches, context.task)
