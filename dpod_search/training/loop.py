"""The loop that every training in this package runs: steps, schedule, checkpoints, NaN stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from itertools import islice
from typing import Any
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.callbacks import OnStep
from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.errors import CheckpointError
from dpod_search.errors import TrainingError
from dpod_search.inputs import Samples
from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before
from dpod_search.placement import placement_of
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.quantities import number
from dpod_search.rng import derive_seed
from dpod_search.rng import seeded
from dpod_search.tasks.batches import move_targets
from dpod_search.tasks.batches import read_batch
from dpod_search.training.averaging import WeightAverage
from dpod_search.training.batches import PositionedLoader
from dpod_search.training.batches import count_batches
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.checkpoint import SideWeights
from dpod_search.training.optimizers import OptimizerSettings
from dpod_search.training.ranks import Ranks
from dpod_search.training.stopping import EarlyStop


_logger = logging.getLogger(__name__)


class Learner(Protocol):
    """What a training is about; the loop knows nothing of supernets."""

    def begin_step(self, step: int) -> None:
        """Prepare a step, before its batch is run."""

    def compute_gradients(self, step: int, samples: Samples, targets: Tensor) -> dict[str, float]:
        """Run a batch forward and backward, and return its losses by name."""

    def describe_step(self, step: int) -> str:
        """Say what a step trained, for an error message."""

    def state(self) -> Any:
        """Return what must be kept to go on from here, as a JSON value."""

    def restore(self, state: Any) -> None:
        """Go on from what :meth:`state` returned."""


@dataclass
class Loop:
    """One training run.

    Args:
        module: The net to train, on its device, in place.
        loader: Batches of one epoch. One with ``set_position(epoch, batch)`` is resumed exactly;
            of others the sampler's ``set_epoch`` is called, if it has one.
        n_epochs: Passes over the loader, > 0; the last one may be a part.
        learner: What is done with a batch.
        optimizer: How gradients move the weights.
        task: Name for progress.
        checkpoint: Where the state is kept, or None.
        progress: Who is told.
        seed: Of what the net itself draws (dropout, stochastic depth), together with the step.
        ranks: The processes that train together. The first one's checkpoint counts.
        early_stop: What may end the training sooner, and whose best weights are delivered. Not
            for several ranks.
        on_step: Called after each step with its number, learning rate and losses.
        seconds: Time the training has taken, in all processes that worked on it up to their last
            checkpoints; filled in by :meth:`run`.
    """

    module: nn.Module
    loader: Batches
    n_epochs: float
    learner: Learner
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    task: str = "training"
    checkpoint: CheckpointFile | None = None
    progress: Progress = field(default_factory=SilentProgress)
    seed: int = 0
    ranks: Ranks = field(default_factory=Ranks)
    early_stop: EarlyStop | None = None
    on_step: OnStep | None = None
    seconds: float = field(init=False, default=0.0)

    def run(self) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint if there is one.

        The module is left with the average of its weights, if the optimizer's settings ask for one,
        or with the best that ``early_stop`` has seen.

        Returns:
            The history: for about 200 steps evenly spread, step, lr and losses.

        Raises:
            TrainingError: If a loss or the gradients are not finite; names the step and the
                widths. If ranks train different subnets.
            CheckpointError: If the checkpoint is damaged or cannot be written.
            DataError: If the loader is empty, or labels are no classes.
        """
        n_batches = count_batches(self.loader)
        n_steps = max(1, round(self.n_epochs * n_batches))
        optimizer = self.optimizer.make_optimizer(self.module)
        decay = self.optimizer.ema_decay
        average = WeightAverage(self.module, decay) if decay else None
        start = time.monotonic()
        sides: dict[str, SideWeights] = {} if average is None else {"average": average}
        if self.early_stop is not None:
            sides["best"] = self.early_stop
        with self.ranks.handing_out(self.checkpoint) as checkpoint:
            first, history = self._resume(checkpoint, optimizer, sides)
        before = self.seconds
        every = max(1, n_steps // 200)
        saved_at = start
        self.module.train()
        self.progress.start(self.task, n_steps, first)
        batches = islice(self._batches(first, n_batches), n_steps - first)
        for step, (samples, targets) in enumerate(batches, start=first):
            lr = self.optimizer.rate_at(step, n_steps)
            losses = self._step(step, lr, optimizer, samples, targets)
            if average is not None:
                average.update(step)
            self.seconds = before + time.monotonic() - start
            if step % every == 0 or step == n_steps - 1:
                history.append({"step": step, "lr": lr, **losses})
            self.progress.advance(1, f"loss {number(losses['loss'])}")
            is_over = self._looks_enough(step, n_steps, average)
            if self.checkpoint and (is_over or self._is_due(saved_at)):
                # After the last step there is nothing to go on with, however it came to be the last.
                self._save(optimizer, sides, n_steps if is_over else step + 1, history)
                saved_at = time.monotonic()
            if is_over:
                break
        else:
            if self.checkpoint and first < n_steps:
                self._save(optimizer, sides, n_steps, history)
        if self.early_stop is not None:
            self.early_stop.deliver(self.module)
        elif average is not None:
            average.deliver()
        self.progress.finish()
        return history

    def _resume(
        self,
        checkpoint: CheckpointFile | None,
        optimizer: torch.optim.Optimizer,
        sides: Mapping[str, SideWeights],
    ) -> tuple[int, list[dict[str, float]]]:
        """Return the step to go on with, and the history before it."""
        kept = checkpoint.load(self.module, optimizer, sides) if checkpoint else None
        if checkpoint is None or kept is None:
            return 0, []
        try:
            n_before = int(kept.get("n_ranks", 1))
            if n_before != self.ranks.n_ranks:
                _logger.warning(
                    "%s: goes on with %d ranks after %d; it will not end with the same weights",
                    *(self.task, self.ranks.n_ranks, n_before),
                )
            self.learner.restore(kept["learner"])
            if self.early_stop is not None:
                self.early_stop.go_on(kept["looks"])
            self.seconds = float(kept["seconds"])
            return int(kept["step"]), list(kept["history"])
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint.path} is damaged ({type(error).__name__}: {error}); "
                "delete it and run the same command again"
            ) from error

    def _step(
        self,
        step: int,
        lr: float,
        optimizer: torch.optim.Optimizer,
        samples: Samples,
        targets: Tensor,
    ) -> dict[str, float]:
        self.learner.begin_step(step)
        if not self.ranks.is_alone:
            self.ranks.check_plan(self.learner.describe_step(step))
        self.module.train()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        placement = placement_of(self.module)
        device = placement.device
        # Each rank drops out channels of its own, for it has pictures of its own.
        rank = (self.ranks.rank,) if self.ranks.rank else ()
        there = move_targets(targets, device)
        # Dropout draws by the step, so that training resumes exactly.
        seed = derive_seed(self.seed, self.task, step, *rank)
        with seeded(seed, device), skipping_before(self._skipping):
            losses = self.learner.compute_gradients(step, placement.put(samples), there)
        losses = self.ranks.average(losses)
        norm = clip_gradients(self.module, self.optimizer.max_grad_norm)
        # A finite loss can have gradients that are not; they would ruin the weights for good.
        for name, value in {**losses, "the norm of the gradients": norm}.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} became {value} at step {step} ({self.learner.describe_step(step)}); "
                    f"lower the learning rate (it was {lr:.3g}) or check the pictures for NaN"
                )
        optimizer.step()
        if self.on_step is not None:
            self.on_step(step, {"lr": lr, **losses})
        return losses

    @cached_property
    def _skipping(self) -> tuple[nn.Conv2d, ...]:
        return find_skipping(self.module)

    def _looks_enough(self, step: int, n_steps: int, average: WeightAverage | None) -> bool:
        """Say whether the training is to end before its last step."""
        if self.early_stop is None or not self.early_stop.is_due(step, n_steps):
            return False
        return self.early_stop.look(self.module, average)

    def _is_due(self, saved_at: float) -> bool:
        assert self.checkpoint is not None
        return time.monotonic() - saved_at >= self.checkpoint.every_seconds

    def _save(
        self,
        optimizer: torch.optim.Optimizer,
        sides: Mapping[str, SideWeights],
        step: int,
        history: list[dict[str, float]],
    ) -> None:
        assert self.checkpoint is not None
        state = {"step": step, "history": history, "learner": self.learner.state()}
        state |= {"seconds": self.seconds, "n_ranks": self.ranks.n_ranks}
        if self.early_stop is not None:
            state["looks"] = self.early_stop.scores
        self.checkpoint.save(self.module, optimizer, state, sides)

    def _batches(self, first: int, n_batches: int) -> Iterator[Batch]:
        sampler = getattr(self.loader, "sampler", None)
        shuffle: Callable[[int], None] | None = getattr(sampler, "set_epoch", None)
        for epoch in range(first // n_batches, math.ceil(self.n_epochs)):
            skip = first - epoch * n_batches if epoch == first // n_batches else 0
            if isinstance(self.loader, PositionedLoader):
                self.loader.set_position(epoch, skip)
                yield from map(read_batch, self.loader)
            else:
                if shuffle is not None:  # a DistributedSampler would repeat its order for ever
                    shuffle(epoch)
                yield from map(read_batch, islice(self.loader, skip, None))


def clip_gradients(module: nn.Module, max_norm: float) -> float:
    """Scale the gradients down to a norm (0 for any), and return what the norm was."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    before = norm.item()
    # PyTorch's own `clip_grad_norm_` writes all gradients again even where none is too long.
    if 0 < max_norm < before < math.inf:
        nn.utils.clip_grads_with_norm_(module.parameters(), max_norm, norm)
    return before
