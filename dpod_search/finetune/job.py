"""One finetuning: what all have in common, what one takes, and its run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from torch import nn

from dpod_search.callbacks import OnStep
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_metrics
from dpod_search.finetune.attention import find_stages
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.tuner import Tuner
from dpod_search.finetune.tuner import TunerContext
from dpod_search.finetune.tuner import resolve_tuner
from dpod_search.finetune.tuner import tune
from dpod_search.inputs import Samples
from dpod_search.inputs import take_samples
from dpod_search.placement import placement_of
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Subnet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import rewind
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

        def gain(module: nn.Module) -> float:
            found = self._deliver(module)
            assert found is not None
            return first.gain(found[first.name])

        return EarlyStop(gain, self.context.settings.patience)

    def _deliver(self, module: nn.Module) -> Mapping[str, float] | None:
        """Bring a trained module into the state that is delivered, and measure that."""
        module.eval()
        calibrate(module, self._images, batch_size=self.context.calibration_batch_size)
        return measure(module, self.context)


def measure(model: nn.Module | Subnet, context: FinetuneContext) -> Mapping[str, float] | None:
    """Return the task's metrics on validation by name; None without batches for it."""
    batches = context.validation_loader
    return None if batches is None else measure_metrics(model, batches, context.task)
