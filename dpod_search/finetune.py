"""Finetuning: extract a subnet, train it on with distillation from the full net, measure it.

What is delivered is what was scored: BatchNorm statistics are re-estimated on the extracted
module after the last step, and both accuracies are measured with statistics of that kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from dpod_search.data import gather_images
from dpod_search.errors import ConfigError
from dpod_search.errors import check_range
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.footprint import build_footprint
from dpod_search.placement import Placement
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.placement import placement_of
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import Candidate
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import extract_subnet
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings
from dpod_search.training import distill
from dpod_search.training import rewind
from dpod_search.training.precision import check_precision
from dpod_search.training.precision import compute_scores
from dpod_search.widths import Widths


Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FinetuneSettings:
    """How the chosen subnets are finetuned.

    Args:
        n_subnets: Subnets of the front to finetune, those that keep most hypervolume; the full
            net is finetuned besides, as what they are compared with.
        epochs: Passes over the training pictures, >= 1.
        batch_size: Pictures in a batch, >= 2.
        optimizer: ``sgd`` (with Nesterov momentum) or ``adamw``, which needs a lower ``lr``.
        schedule: How the learning rate moves after its rise: ``cosine`` or ``one-cycle``.
        lr: Highest learning rate.
        momentum: Of ``sgd``, and the first beta of ``adamw``, in [0, 1).
        weight_decay: >= 0.
        decays_norms: Weight decay also on vectors: scales and shifts of norms, biases.
        warmup_share: Share of the steps over which the learning rate rises, in [0, 1).
        max_grad_norm: Gradients are scaled down to this norm; 0 leaves them.
        ema_decay: Of the average of the weights that is delivered in place of the last ones, in
            [0, 1); 0 for none.
        precision: ``float32``, or ``bfloat16`` for convolutions and matrix products.
        distillation: Weight of the full net's answers in the loss, in [0, 1]; the labels have
            the rest.
        temperature: Of distillation, > 0.
        checkpoint_seconds: Time between two checkpoints.
    """

    n_subnets: int = 12
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "sgd"
    schedule: str = "cosine"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decays_norms: bool = True
    warmup_share: float = 0.05
    max_grad_norm: float = 5.0
    ema_decay: float = 0.0
    precision: str = "float32"
    distillation: float = 0.5
    temperature: float = 2.0
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("finetune.n_subnets", self.n_subnets, low=1)
        check_range("finetune.epochs", self.epochs, low=1)
        check_range("finetune.batch_size", self.batch_size, low=2)
        OptimizerSettings.part_of(self, "finetune")
        check_precision("finetune.precision", self.precision)
        check_range("finetune.distillation", self.distillation, low=0, high=1)
        check_range("finetune.temperature", self.temperature, low=1e-3)
        check_range("finetune.checkpoint_seconds", self.checkpoint_seconds, low=0)


@dataclass(frozen=True, eq=False)
class FinetunedSubnet:
    """A plain module, trained on, with what is known of it.

    Args:
        module: The extracted subnet, in evaluation mode, statistics calibrated.
        widths: The widths it was extracted at.
        footprint: Its footprints by name.
        input_shape: Shape (C, ...) of one sample.
        accuracy_before: On the validation batches, inside the supernet; None without them.
        accuracy: On the validation batches, as delivered; None without them.
        history: Step, lr and losses.
        seconds: Time training took, in all processes that worked on it up to their last
            checkpoints.
    """

    module: nn.Module
    widths: Widths
    footprint: Mapping[str, float]
    input_shape: tuple[int, ...]
    accuracy_before: float | None = None
    accuracy: float | None = None
    history: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0

    def __call__(self, images: Tensor) -> Tensor:
        """Run the module on a batch, so that custom objectives can look at it like a subnet."""
        result: Tensor = self.module(images)
        return result

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""
        return placement_of(self.module)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.placement.device

    def extract(self) -> nn.Module:
        """Return the module, which is plain already."""
        return self.module


@dataclass
class DistillationLearner:
    """Trains a plain module on labels and on the full net's answers.

    Args:
        module: The net in training.
        full_net: In evaluation mode.
        weight: Weight of the full net's answers in the loss, in [0, 1].
        temperature: Of distillation.
        precision: What the nets run in; losses are in float32.
    """

    module: nn.Module
    full_net: nn.Module
    weight: float
    temperature: float
    precision: str = "float32"

    def begin_step(self, step: int) -> None:
        """Nothing to prepare."""

    def compute_gradients(self, step: int, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Run the module and, if it has a say, the full net."""
        scores = compute_scores(self.module, images, self.precision)
        loss = (1 - self.weight) * functional.cross_entropy(scores, labels)
        if self.weight > 0:
            with torch.no_grad():
                wanted = compute_scores(self.full_net, images, self.precision)
            loss = loss + self.weight * distill(scores, wanted, self.temperature)
        torch.autograd.backward(loss)
        return {"loss": loss.item()}

    def describe_step(self, step: int) -> str:
        """Say that this was finetuning."""
        return "finetuning"

    def state(self) -> Any:
        """Nothing is kept besides the weights."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing is kept besides the weights."""


def finetune(
    subnet: Candidate | Subnet,
    train_loader: Batches,
    *,
    validation_loader: Batches | None = None,
    calibration_images: Tensor | None = None,
    calibration_batch_size: int = 1024,
    settings: FinetuneSettings | None = None,
    seed: int = 0,
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
    loop = Loop(
        module=_place_like(module, supernet),
        loader=train_loader,
        n_epochs=chosen.epochs,
        learner=DistillationLearner(
            module,
            _full_net(supernet),
            chosen.distillation,
            chosen.temperature,
            chosen.precision,
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
        footprint=build_footprint(supernet).measure(widths),
        input_shape=supernet.example_shape,
        accuracy_before=before,
        accuracy=_measure(module, validation_loader),
        history=tuple(history),
        seconds=loop.seconds,
    )


def _measure(model: nn.Module | Subnet, batches: Batches | None) -> float | None:
    return None if batches is None else measure_accuracy(model, batches)


def _full_net(supernet: Supernet) -> nn.Module:
    full_net = extract_subnet(supernet, supernet.space.full).eval()
    return _place_like(full_net, supernet).requires_grad_(False)


def _place_like(module: nn.Module, supernet: Supernet) -> nn.Module:
    is_channels_last = supernet.grouping.runs_channels_last
    return place_module(module, device_of(supernet), is_channels_last=is_channels_last)
