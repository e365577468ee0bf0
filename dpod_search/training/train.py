"""Training a supernet once, so that all its subnets work."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.data.augmentation import CROP_FLIP
from dpod_search.data.augmentation import check_augmentation
from dpod_search.errors import ConfigError
from dpod_search.errors import check_range
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.lasso import SuffixLasso
from dpod_search.training.loop import Batches
from dpod_search.training.loop import Loop
from dpod_search.training.loop import count_batches
from dpod_search.training.losses import distill
from dpod_search.training.optimizers import OptimizerSettings
from dpod_search.training.policies import MakePolicy
from dpod_search.training.policies import Policy
from dpod_search.training.policies import PolicyContext
from dpod_search.training.policies import Scorer
from dpod_search.training.policies import make_options
from dpod_search.training.policies import make_policy
from dpod_search.training.precision import check_precision
from dpod_search.training.precision import compute_scores
from dpod_search.training.ranks import Ranks
from dpod_search.widths import Widths


@dataclass(frozen=True)
class TrainingSettings:
    """How the supernet is trained.

    Args:
        policy: Which subnets each step trains: a name (``dpod`` is progressive shrinking), or
            your own class as ``package.module:name``.
        policy_options: Options of that policy.
        distillation: Weight of the full net's answers in a partial net's loss, in [0, 1]; the
            labels have the rest. At 0 policies do not run the full net for its answers' sake.
        temperature: Of distillation, > 0.
        group_lasso: Strength of the hierarchical group lasso, which lets whole suffixes of
            channels go to zero, >= 0; 0 for none.
        n_scoring: Pictures of the calibration split that judge the shrinks of the path, at most.
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
        label_smoothing: Of the full net's labels, in [0, 1).
        crop_padding: Random shifts by up to so many pixels; 0 for none.
        flip: Random left-right mirroring.
        augmentation: What is done to pictures after that: ``crop-flip`` for nothing;
            ``trivialaugment``, ``randaugment``, ``randomerasing``, or several joined by ``+``; or
            a function of your own as ``package.module:function``, which returns a transform of
            ``torchvision.transforms.v2``.
        n_workers: Processes that load pictures; 0 loads in the training process.
        checkpoint_seconds: Time between two checkpoints.
    """

    policy: str = "dpod"
    policy_options: Mapping[str, Any] = field(default_factory=dict)
    distillation: float = 1.0
    temperature: float = 1.0
    group_lasso: float = 0.0
    n_scoring: int = 2000
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    schedule: str = "cosine"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decays_norms: bool = True
    warmup_share: float = 0.05
    max_grad_norm: float = 5.0
    ema_decay: float = 0.0
    precision: str = "float32"
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    augmentation: str = CROP_FLIP
    n_workers: int = 0
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges and the policy."""
        check_range("training.distillation", self.distillation, low=0, high=1)
        check_range("training.temperature", self.temperature, low=1e-3)
        check_range("training.group_lasso", self.group_lasso, low=0)
        check_range("training.n_scoring", self.n_scoring, low=1)
        check_range("training.epochs", self.epochs, low=1)
        check_range("training.batch_size", self.batch_size, low=2)
        OptimizerSettings.part_of(self, "training")
        check_precision("training.precision", self.precision)
        check_range("training.label_smoothing", self.label_smoothing, low=0, high=0.999)
        check_range("training.crop_padding", self.crop_padding, low=0)
        check_augmentation("training.augmentation", self.augmentation)
        check_range("training.n_workers", self.n_workers, low=0)
        check_range("training.checkpoint_seconds", self.checkpoint_seconds, low=0)
        make_options(self.policy, self.policy_options)


@dataclass(frozen=True)
class TrainingResult:
    """What training a supernet leaves behind, besides the weights.

    Args:
        path: Profiles from the full net to the floor (empty if the policy has none).
        history: Step, lr and losses at about 200 steps.
        n_steps: Steps of the whole training.
        seconds: Time it took, in all processes that worked on it up to their last checkpoints.
        macs: Multiply-adds of all forward passes. A backward pass has twice as many, so that
            policies are compared at equal training cost by this number.
    """

    path: tuple[Widths, ...]
    history: tuple[Mapping[str, float], ...]
    n_steps: int
    seconds: float
    macs: float


class SupernetLearner:
    """Runs the plan of a policy on every batch.

    Args:
        supernet: The net in training.
        policy: Chooses the subnets.
        cost: Macs of a subnet.
        label_smoothing: Of the labels' cross-entropy.
        distillation: Weight of the full net's answers in a partial net's loss, in [0, 1].
        temperature: Of distillation.
        precision: What the nets run in; losses are in float32.
        group_lasso: Strength of the hierarchical group lasso.
        ranks: The processes that train together; macs are those of all.
    """

    def __init__(
        self,
        supernet: Supernet,
        policy: Policy,
        *,
        cost: Callable[[Widths], float],
        label_smoothing: float = 0.0,
        distillation: float = 1.0,
        temperature: float = 1.0,
        precision: str = "float32",
        group_lasso: float = 0.0,
        ranks: Ranks | None = None,
    ) -> None:
        """Join the net and the policy."""
        self._supernet = supernet
        ranks = ranks or Ranks()
        self._forward = ranks.join(supernet)
        self._n_ranks = ranks.n_ranks
        # What joins ranks sees gradients through hooks, which would not be called.
        self._adding_gradients = supernet.adding_gradients if ranks.is_alone else nullcontext
        self._policy = policy
        self._cost = cost
        self._smoothing = label_smoothing
        self._distillation = distillation
        self._temperature = temperature
        self._precision = precision
        self._lasso = SuffixLasso(supernet, strength=group_lasso) if group_lasso > 0 else None
        self.macs = 0.0

    def begin_step(self, step: int) -> None:
        """Let the policy prepare."""
        self._policy.begin_step(step)

    def compute_gradients(self, step: int, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Run the full net on the labels, then each partial net against its answers."""
        plan = self._policy.plan(step)
        losses: dict[str, float] = {}
        full_scores: Tensor | None = None
        if plan.full:
            full_scores = self._run(images)
            loss = self._on_labels(full_scores, labels)
            torch.autograd.backward(loss)
            losses["loss"] = loss.item()
            full_scores = full_scores.detach()
            self._count(images, self._supernet.space.full)
        rates = plan.rates or (1.0,) * len(plan.partial)
        for widths, rate in zip(plan.partial, rates, strict=True):
            with self._supernet.active(widths), self._adding_gradients():
                loss = self._on_both(self._run(images), labels, full_scores)
                torch.autograd.backward(loss if rate == 1 else rate * loss)
            self._count(images, widths)
            share = loss.item() / len(plan.partial)
            losses["partial_loss"] = losses.get("partial_loss", 0.0) + share
        if self._lasso is not None:
            losses["group_lasso"] = self._lasso.add_gradients().item()
        losses.setdefault("loss", losses.get("partial_loss", 0.0))
        return losses

    def describe_step(self, step: int) -> str:
        """Name the widths of a step."""
        plan = self._policy.plan(step)
        parts = ["full net"] if plan.full else []
        if plan.partial:
            parts.append(f"widths {', '.join(str(widths) for widths in plan.partial)}")
        return " and ".join(parts)

    def state(self) -> Any:
        """Return the policy's state, and what was spent."""
        return {"policy": self._policy.state(), "macs": self.macs}

    def restore(self, state: Any) -> None:
        """Restore the policy's state, and what was spent."""
        self._policy.restore(state["policy"])
        self.macs = float(state["macs"])

    def _run(self, images: Tensor) -> Tensor:
        return compute_scores(self._forward, images, self._precision)

    def _count(self, images: Tensor, widths: Widths) -> None:
        self.macs += self._n_ranks * len(images) * self._cost(widths)

    def _on_labels(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(scores, labels, label_smoothing=self._smoothing)

    def _on_both(self, scores: Tensor, labels: Tensor, full_scores: Tensor | None) -> Tensor:
        weight = 0.0 if full_scores is None else self._distillation
        loss = torch.zeros((), device=scores.device)
        if weight < 1:
            loss = (1 - weight) * self._on_labels(scores, labels)
        if full_scores is not None and weight > 0:
            loss = loss + weight * distill(scores, full_scores, self._temperature)
        return loss


def train_supernet(
    supernet: Supernet,
    loader: Batches,
    settings: TrainingSettings,
    *,
    cost: Callable[[Widths], float],
    score: Scorer,
    seed: int,
    checkpoint: CheckpointFile | None = None,
    progress: Progress | None = None,
    policy: MakePolicy | None = None,
) -> TrainingResult:
    """Train a supernet in place.

    In a process group of PyTorch all ranks must call it, each with its own share of every batch;
    then they train one supernet together, and all have it in the end. The first one scores, and
    only its checkpoint is read and written.

    Args:
        supernet: On its device; left in evaluation mode at full width.
        loader: Batches of pictures (N, *example_shape) and labels (N,).
        settings: How.
        cost: Macs of a subnet.
        score: Quality of a subnet in [0, 1], larger is better, on pictures kept apart.
        seed: Seed of the study.
        checkpoint: Where the state is kept; training goes on from it if it exists.
        progress: Who is told.
        policy: A policy's class, used instead of the one that the settings name; called with a
            ``PolicyContext`` alone.

    Returns:
        The path and the history.

    Raises:
        ConfigError: If the policy or its options are unknown.
        TrainingError: If a loss or the gradients are not finite, or another rank was lost.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If the loader is empty.
    """
    if len(supernet.groups) == 0:
        raise ConfigError("the supernet has no channel group to train")
    place_module(
        supernet, device_of(supernet), is_channels_last=supernet.grouping.runs_channels_last
    )
    n_steps = settings.epochs * count_batches(loader)
    ranks = Ranks.joined()
    context = PolicyContext(
        supernet.space, cost, ranks.agree(score), n_steps, seed, distills=settings.distillation > 0
    )
    chosen = make_policy(
        policy or settings.policy, {} if policy else settings.policy_options, context
    )
    with ranks.noticing_losses():
        ranks.check_same(n_steps, "steps to train; give their loaders equally many batches")
        learner = SupernetLearner(
            supernet,
            chosen,
            cost=cost,
            label_smoothing=settings.label_smoothing,
            distillation=settings.distillation,
            temperature=settings.temperature,
            precision=settings.precision,
            group_lasso=settings.group_lasso,
            ranks=ranks,
        )
        loop = Loop(
            module=supernet,
            loader=loader,
            n_epochs=settings.epochs,
            learner=learner,
            optimizer=OptimizerSettings.part_of(settings, "training"),
            task="train",
            checkpoint=checkpoint if ranks.is_first else None,
            progress=progress or SilentProgress(),
            seed=seed,
            ranks=ranks,
        )
        history = loop.run()
        ranks.share_tensors(supernet)  # BatchNorm's statistics are of each rank's own pictures
    supernet.eval()
    return TrainingResult(
        path=chosen.path(),
        history=tuple(history),
        n_steps=n_steps,
        seconds=loop.seconds,
        macs=learner.macs,
    )
