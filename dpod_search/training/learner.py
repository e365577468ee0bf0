"""What a training step does: the nets of a policy's plan, run forward and backward."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.own_code import own_code
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.training.lasso import SuffixLasso
from dpod_search.training.policies import Plan
from dpod_search.training.policies import Policy
from dpod_search.training.policies import Scorer
from dpod_search.training.precision import compute_outputs
from dpod_search.training.ranks import Ranks
from dpod_search.training.settings import TrainingSettings
from dpod_search.widths import Widths


@dataclass
class CountedScorer:
    """A judge of subnets that counts what it spends.

    Args:
        score: Quality of a subnet in [0, 1], larger is better.
        cost: Macs of a subnet.
        n_images: Pictures that a score runs the subnet on, if no other number is asked for.
        macs: Multiply-adds spent so far.
    """

    score: Scorer
    cost: Callable[[Widths], float]
    n_images: int
    macs: float = 0.0

    def __call__(self, widths: Widths, *n_images: int) -> float:
        """Return the quality of a subnet.

        Args:
            widths: Of the subnet.
            *n_images: Nothing, or the number of pictures to look at.
        """
        (n_counted,) = n_images or (self.n_images,)
        self.macs += n_counted * self.cost(widths)
        return self.score(widths, *n_images)


class SupernetLearner:
    """Runs the plan of a policy on every batch.

    Args:
        supernet: The net in training.
        policy: Chooses the subnets.
        scorer: What the policy judges subnets with; what it has spent is kept in checkpoints.
        settings: Losses and precision.
        task: What the net is trained for.
        ranks: The processes that train together; macs are those of all.
    """

    def __init__(
        self,
        supernet: Supernet,
        policy: Policy,
        scorer: CountedScorer,
        settings: TrainingSettings | None = None,
        *,
        task: Task | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Join the net and the policy."""
        self._supernet = supernet
        self._policy = policy
        self._scorer = scorer
        self._settings = settings = settings or TrainingSettings()
        self._task = task or Classification()
        self._ranks = ranks = ranks or Ranks()
        self._forward = ranks.join(supernet)
        # What joins ranks sees gradients through hooks, which would not be called.
        self._adding_gradients = supernet.adding_gradients if ranks.is_alone else nullcontext
        strength = settings.group_lasso
        self._lasso = SuffixLasso(supernet, strength=strength) if strength > 0 else None
        self.macs = 0.0

    def begin_step(self, step: int) -> None:
        """Let the policy prepare."""
        with self._asking("begin_step"):
            self._policy.begin_step(step)

    def path(self) -> tuple[Widths, ...]:
        """Return the policy's path."""
        with self._asking("path"):
            return self._policy.path()

    def compute_gradients(self, step: int, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Run the full net on the labels, then each partial net against its answers."""
        self._ranks.check_share(len(images))
        plan = self._plan(step)
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
        """Name the widths of a step, with their learning rates where these are not the step's."""
        plan = self._plan(step)
        parts = ["full net"] if plan.full else []
        if plan.partial:
            rates = plan.rates or (1.0,) * len(plan.partial)
            pairs = zip(plan.partial, rates, strict=True)
            named = [f"{w}" if rate == 1 else f"{w} at {rate} of the rate" for w, rate in pairs]
            parts.append(f"widths {', '.join(named)}")
        return " and ".join(parts)

    def state(self) -> Any:
        """Return the policy's state, and what was spent.

        Raises:
            ConfigError: If the policy's state is no JSON value.
        """
        with self._asking("state"):
            state = self._policy.state()
        try:
            json.dumps(state, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"state() of {type(self._policy).__name__} cannot be kept in a checkpoint "
                f"({error}); return lists, dicts, strings and finite numbers"
            ) from error
        return {"policy": state, "macs": self.macs, "scoring_macs": self._scorer.macs}

    def restore(self, state: Any) -> None:
        """Restore the policy's state, and what was spent."""
        with self._asking("restore"):
            self._policy.restore(state["policy"])
        self.macs = float(state["macs"])
        self._scorer.macs = float(state["scoring_macs"])

    def _asking(self, method: str) -> AbstractContextManager[None]:
        policy = self._policy
        return own_code(f"{method}() of {type(policy).__name__}", ConfigError, called=policy)

    def _plan(self, step: int) -> Plan:
        with self._asking("plan"):
            plan: object = self._policy.plan(step)
        if not isinstance(plan, Plan):
            raise ConfigError(
                f"plan() of {type(self._policy).__name__} must return a Plan, got a "
                f"{type(plan).__name__}; see docs/training-policies.md"
            )
        if not plan.full and not plan.partial:
            raise ConfigError(
                f"plan() of {type(self._policy).__name__} trains nothing at step {step}; "
                "return a Plan with full=True or with a partial net"
            )
        return plan

    def _run(self, images: Tensor) -> Tensor:
        return compute_outputs(self._forward, images, self._task, self._settings.precision)

    def _count(self, images: Tensor, widths: Widths) -> None:
        self.macs += self._ranks.n_ranks * len(images) * self._scorer.cost(widths)

    def _on_labels(self, scores: Tensor, labels: Tensor) -> Tensor:
        targets = self._task.check_targets(labels, scores)
        smoothing = self._settings.label_smoothing
        return self._task.compute_loss(scores, targets, label_smoothing=smoothing)

    def _on_both(self, scores: Tensor, labels: Tensor, full_scores: Tensor | None) -> Tensor:
        weight = 0.0 if full_scores is None else self._settings.distillation
        loss = torch.zeros((), device=scores.device)
        if weight < 1:
            loss = (1 - weight) * self._on_labels(scores, labels)
        if full_scores is not None and weight > 0:
            loss = loss + weight * self._task.distill(
                scores, full_scores, self._settings.temperature
            )
        return loss
