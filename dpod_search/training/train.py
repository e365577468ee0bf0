"""Training a supernet once, so that all its subnets work."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.errors import check_range
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.loop import Batches
from dpod_search.training.loop import Loop
from dpod_search.training.loop import OptimizerSettings
from dpod_search.training.loop import count_batches
from dpod_search.training.losses import distill
from dpod_search.training.policies import Policy
from dpod_search.training.policies import PolicyContext
from dpod_search.training.policies import Scorer
from dpod_search.training.policies import make_options
from dpod_search.training.policies import make_policy
from dpod_search.widths import Widths


@dataclass(frozen=True)
class TrainingSettings:
    """How the supernet is trained.

    Args:
        policy: Which subnets each step trains; ``dpod`` is progressive shrinking.
        policy_options: Options of that policy; of ``dpod``: ``warmup_share``, ``growth_end``,
            ``n_profiles``.
        epochs: Passes over the training pictures, >= 1.
        batch_size: Pictures in a batch, >= 2.
        lr: Highest learning rate.
        momentum: Of stochastic gradient descent, in [0, 1).
        weight_decay: On all parameters.
        label_smoothing: Of the full net's labels, in [0, 1).
        crop_padding: Random shifts by up to so many pixels; 0 for none.
        flip: Random left-right mirroring.
        n_workers: Processes that load pictures; 0 loads in the training process.
        checkpoint_seconds: Time between two checkpoints.
    """

    policy: str = "dpod"
    policy_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    n_workers: int = 0
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges and the policy."""
        check_range("training.epochs", self.epochs, low=1)
        check_range("training.batch_size", self.batch_size, low=2)
        check_range("training.lr", self.lr, low=1e-12)
        check_range("training.momentum", self.momentum, low=0, high=0.9999)
        check_range("training.weight_decay", self.weight_decay, low=0)
        check_range("training.label_smoothing", self.label_smoothing, low=0, high=0.999)
        check_range("training.crop_padding", self.crop_padding, low=0)
        check_range("training.n_workers", self.n_workers, low=0)
        check_range("training.checkpoint_seconds", self.checkpoint_seconds, low=0)
        make_options(self.policy, self.policy_options)

    @property
    def optimizer(self) -> OptimizerSettings:
        """The optimizer's part of the settings."""
        return OptimizerSettings(
            lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class TrainingResult:
    """What training a supernet leaves behind, besides the weights.

    Args:
        path: Profiles from the full net to the floor (empty if the policy has none).
        history: Step, lr and losses at about 200 steps.
        n_steps: Steps of the whole training.
        seconds: Time this call took (less than the whole where it was resumed).
    """

    path: tuple[Widths, ...]
    history: tuple[Mapping[str, float], ...]
    n_steps: int
    seconds: float


class SupernetLearner:
    """Runs the plan of a policy on every batch.

    Args:
        supernet: The net in training.
        policy: Chooses the subnets.
        label_smoothing: Of the labels' cross-entropy.
    """

    def __init__(self, supernet: Supernet, policy: Policy, label_smoothing: float = 0.0) -> None:
        """Join the net and the policy."""
        self._supernet = supernet
        self._policy = policy
        self._smoothing = label_smoothing

    def begin_step(self, step: int) -> None:
        """Let the policy prepare."""
        self._policy.begin_step(step)

    def compute_gradients(self, step: int, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Run the full net on the labels, then each partial net against its answers."""
        plan = self._policy.plan(step)
        losses: dict[str, float] = {}
        full_scores: Tensor | None = None
        if plan.full:
            full_scores = self._supernet(images)
            loss = self._on_labels(full_scores, labels)
            torch.autograd.backward(loss)
            losses["loss"] = loss.item()
        for widths in plan.partial:
            with self._supernet.active(widths):
                scores = self._supernet(images)
                if full_scores is None:
                    loss = self._on_labels(scores, labels)
                else:
                    loss = distill(scores, full_scores)
                torch.autograd.backward(loss)
            share = loss.item() / len(plan.partial)
            losses["partial_loss"] = losses.get("partial_loss", 0.0) + share
        losses.setdefault("loss", losses.get("partial_loss", 0.0))
        return losses

    def describe_step(self, step: int) -> str:
        """Name the widths of a step."""
        partial = ", ".join(str(widths) for widths in self._policy.plan(step).partial)
        return f"full net and widths {partial}" if partial else "full net"

    def state(self) -> Any:
        """Return the policy's state."""
        return self._policy.state()

    def restore(self, state: Any) -> None:
        """Restore the policy's state."""
        self._policy.restore(state)

    def _on_labels(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(scores, labels, label_smoothing=self._smoothing)


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
) -> TrainingResult:
    """Train a supernet in place.

    Args:
        supernet: On its device; left in evaluation mode at full width.
        loader: Batches of pictures (N, *example_shape) and labels (N,).
        settings: How.
        cost: Macs of a subnet.
        score: Quality of a subnet in [0, 1], larger is better, on pictures kept apart.
        seed: Seed of the study.
        checkpoint: Where the state is kept; training goes on from it if it exists.
        progress: Who is told.

    Returns:
        The path and the history.

    Raises:
        ConfigError: If the policy or its options are unknown.
        TrainingError: If a loss or the gradients are not finite.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If the loader is empty.
    """
    start = time.perf_counter()
    if len(supernet.groups) == 0:
        raise ConfigError("the supernet has no channel group to train")
    place_module(
        supernet, device_of(supernet), is_channels_last=supernet.grouping.runs_channels_last
    )
    n_steps = settings.epochs * count_batches(loader)
    context = PolicyContext(supernet.space, cost, score, n_steps, seed)
    policy = make_policy(settings.policy, settings.policy_options, context)
    loop = Loop(
        module=supernet,
        loader=loader,
        n_epochs=settings.epochs,
        learner=SupernetLearner(supernet, policy, settings.label_smoothing),
        optimizer=settings.optimizer,
        task="train",
        checkpoint=checkpoint,
        progress=progress or SilentProgress(),
        seed=seed,
    )
    history = loop.run()
    supernet.eval()
    return TrainingResult(policy.path(), tuple(history), n_steps, time.perf_counter() - start)
