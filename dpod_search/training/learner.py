"""What a training step does: the nets of a policy's plan, run forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpod_search.inputs import Samples
from dpod_search.inputs import count_samples
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.asking import ask_distance
from dpod_search.tasks.asking import ask_loss
from dpod_search.training.lasso import SuffixLasso
from dpod_search.training.precision import compute_outputs
from dpod_search.training.ranks import Ranks
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.settings import TrainingSettings
from dpod_search.training.turn import Turn


class SupernetLearner:
    """Runs the subnets of a schedule on every batch.

    Args:
        supernet: The net in training.
        schedule: The subnets of each step; part of the state.
        settings: Losses and precision.
        task: What the net is trained for.
        ranks: The processes that train together.
    """

    def __init__(
        self,
        supernet: Supernet,
        schedule: SubnetSchedule,
        settings: TrainingSettings | None = None,
        *,
        task: Task | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Join the net and the schedule."""
        self._schedule = schedule
        self._settings = settings = settings or TrainingSettings()
        self._task = task or Classification()
        self._ranks = ranks = ranks or Ranks()
        self._forward = ranks.join(supernet)
        strength = settings.group_lasso
        self._lasso = SuffixLasso(supernet, strength=strength) if strength > 0 else None

    def begin_step(self, step: int) -> None:
        """Let the policy prepare."""
        self._schedule.begin_step(step)

    def compute_gradients(self, step: int, samples: Samples, targets: Tensor) -> dict[str, float]:
        """Run the full net on the targets, then each partial net against its answers."""
        n_samples = count_samples(samples)
        self._ranks.check_share(n_samples)
        losses: dict[str, float] = {}
        full_outputs: Tensor | None = None
        for turn in self._schedule.turns(step, n_samples):
            with turn:
                outputs = self._run(samples)
                loss = self._compute_loss(turn, outputs, targets, full_outputs)
                torch.autograd.backward(loss if turn.rate == 1 else turn.rate * loss)
            if turn.is_full:
                losses["loss"] = loss.item()
                full_outputs = outputs.detach()
            else:
                share = loss.item() / turn.n_partial
                losses["partial_loss"] = losses.get("partial_loss", 0.0) + share
        if self._lasso is not None:
            losses["group_lasso"] = self._lasso.add_gradients().item()
        losses.setdefault("loss", losses.get("partial_loss", 0.0))
        return losses

    def describe_step(self, step: int) -> str:
        """Name the widths of a step."""
        return self._schedule.describe_step(step)

    def state(self) -> Any:
        """Return the schedule's state."""
        return self._schedule.state()

    def restore(self, state: Any) -> None:
        """Restore the schedule's state."""
        self._schedule.restore(state)

    def _run(self, samples: Samples) -> Tensor:
        return compute_outputs(self._forward, samples, self._task, self._settings.precision)

    def _compute_loss(
        self, turn: Turn, outputs: Tensor, targets: Tensor, full_outputs: Tensor | None
    ) -> Tensor:
        if turn.is_full:
            return self._on_targets(outputs, targets)
        return self._on_both(outputs, targets, full_outputs)

    def _on_targets(self, outputs: Tensor, targets: Tensor) -> Tensor:
        smoothing = self._settings.label_smoothing
        return ask_loss(self._task, outputs, targets, label_smoothing=smoothing)

    def _on_both(self, outputs: Tensor, targets: Tensor, full_outputs: Tensor | None) -> Tensor:
        weight = 0.0 if full_outputs is None else self._settings.distillation
        loss = torch.zeros((), device=outputs.device)
        if weight < 1:
            loss = (1 - weight) * self._on_targets(outputs, targets)
        if full_outputs is not None and weight > 0:
            temperature = self._settings.temperature
            distance = ask_distance(self._task, outputs, full_outputs, temperature, targets)
            loss = loss + weight * distance
        return loss
