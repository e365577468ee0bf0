"""The door for a loop of one's own: which subnets a step trains, each inside its widths.

The package's own loop goes through it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from functools import partial
from typing import Any
from typing import TypeVar
from typing import cast

from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.evaluation import calibrate
from dpod_search.inputs import ModelCall
from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before
from dpod_search.own_code import own_code
from dpod_search.placement import placement_of
from dpod_search.supernet import Supernet
from dpod_search.tasks.batches import describe_value
from dpod_search.training.policies import Plan
from dpod_search.training.policies import Policy
from dpod_search.training.policies import Scorer
from dpod_search.training.ranks import Ranks
from dpod_search.training.turn import Turn
from dpod_search.widths import Widths


# Of the samples of a batch: they are moved, and stay of the form that they were given in.
Form = TypeVar("Form")


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


class SubnetSchedule:
    """The subnets that each step of a training runs, as a policy chooses them.

    In a loop of your own, on every batch::

        samples = schedule.put(samples)
        for turn in schedule.next_step(len(samples)):
            with turn:
                outputs = supernet(samples)
                ...  # the loss of this turn
                (turn.rate * loss).backward()
        optimizer.step()

    Args:
        supernet: The net in training.
        policy: Chooses the subnets.
        scorer: What the policy judges subnets with; what it has spent is part of the state.
        n_steps: Steps of the whole training; :meth:`next_step` gives no more.
        calibration_batch_size: Pictures run at once in :meth:`finish`.
        ranks: The processes that train together; macs are those of all.
    """

    def __init__(
        self,
        supernet: Supernet,
        policy: Policy,
        scorer: CountedScorer,
        *,
        n_steps: int = 0,
        calibration_batch_size: int = 1024,
        ranks: Ranks | None = None,
    ) -> None:
        """Stand before the first step."""
        self._supernet = supernet
        self._policy = policy
        self._scorer = scorer
        self._ranks = ranks = ranks or Ranks()
        # What joins ranks sees gradients through hooks, which would not be called.
        self._adding_gradients = supernet.adding_gradients if ranks.is_alone else nullcontext
        self._is_in_step = False
        self._calibration_batch_size = calibration_batch_size
        self.n_steps = n_steps
        """Steps of the whole training."""
        self.step = 0
        """The step that comes next, from 0."""
        self.macs = 0.0
        """Multiply-adds of the forward passes so far, on all ranks."""

    @property
    def scoring_macs(self) -> float:
        """Multiply-adds of what the policy had scored so far."""
        return self._scorer.macs

    def next_step(self, n_samples: int) -> Iterator[Turn]:
        """Give the subnets of the next step, in order; it is over when there are no more.

        The full net comes first, if it is among them. Gradients of all turns add up in ``.grad``:
        move the weights once, after the last.

        Args:
            n_samples: Samples of the batch, on this rank.

        Raises:
            ConfigError: If the policy plans nothing, or no plan.
            TrainingError: If another step was begun and left before its last turn, or all steps
                are done; of several ranks, if they are about to train different subnets.
        """
        if self._is_in_step:
            raise TrainingError(
                f"step {self.step} was left before its last turn; run all turns of a step, or load "
                "the state of before"
            )
        if self.step >= self.n_steps:
            raise TrainingError(
                f"all {self.n_steps} steps of this schedule are done; make it for more epochs"
            )
        self._is_in_step = True
        self.begin_step(self.step)
        if not self._ranks.is_alone:
            self._ranks.check_plan(f"step {self.step}: {self.describe_step(self.step)}")
        for turn in self.turns(self.step, n_samples):
            turn.contexts = (*turn.contexts, partial(skipping_before, self._skipping))
            yield turn
        self.step += 1
        self._is_in_step = False

    @cached_property
    def _skipping(self) -> tuple[nn.Conv2d, ...]:
        return find_skipping(self._supernet)

    def put(self, samples: Form) -> Form:
        """Move samples to where the supernet is, laid out in memory as its weights are.

        Args:
            samples: One tensor or several inputs: tuples, lists and dictionaries of tensors, one
                in another too, or a call. What is no tensor stays as it is.

        Returns:
            The same form.

        Raises:
            DataError: If no tensor is found in them.
        """
        call = samples if isinstance(samples, ModelCall) else ModelCall((samples,), {})
        if not call.tensors:
            raise DataError(
                "put() moves a tensor, or a tuple, list or dict of tensors; got "
                f"{describe_value(samples)}"
            )
        moved = call.map(placement_of(self._supernet).put)
        return cast(Form, moved if call is samples else moved.args[0])

    def finish(self) -> None:
        """Leave the supernet as a search wants it: in evaluation mode, the full net calibrated.

        Of several ranks each has the first one's statistics then.

        Raises:
            CalibrationError: If the statistics cannot be estimated.
        """
        self._supernet.eval()
        images = self._supernet.calibration_images
        if images is not None:
            calibrate(self._supernet, images, batch_size=self._calibration_batch_size)
        self._ranks.share_tensors(self._supernet)

    def state_dict(self) -> dict[str, Any]:
        """Return what must be kept to go on from here, between two steps, as a JSON value.

        Weights and the optimizer's state are the caller's to keep.
        """
        name = type(self._policy).__name__
        return {"step": self.step, "n_steps": self.n_steps, "chosen by": name, **self.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            CheckpointError: If it is no such state, or that of another schedule.
        """
        try:
            step = int(state["step"])
            of = (state["chosen by"], state["n_steps"])
            if of != (type(self._policy).__name__, self.n_steps) or not 0 <= step <= self.n_steps:
                raise CheckpointError(
                    f"this is step {step} of {of[1]} by {of[0]}, and not of {self.n_steps} by "
                    f"{type(self._policy).__name__}; make the schedule as that one was made"
                )
            self.restore(state)
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"this is no state of a schedule ({type(error).__name__}: {error}); give what "
                "state_dict() returned"
            ) from error
        self.step, self._is_in_step = step, False

    def begin_step(self, step: int) -> None:
        """Let the policy prepare."""
        with self._asking("begin_step"):
            self._policy.begin_step(step)

    def turns(self, step: int, n_samples: int) -> Iterator[Turn]:
        """Give the subnets of a step that was begun."""
        plan = self._plan(step)
        n_partial = len(plan.partial)
        if plan.full:
            full = self._supernet.space.full
            yield from self._give(Turn(full, is_full=True, rate=1.0, n_partial=n_partial))
            self._count(n_samples, full)
        rates = plan.rates or (1.0,) * n_partial
        for widths, rate in zip(plan.partial, rates, strict=True):
            contexts = (partial(self._supernet.active, widths), self._adding_gradients)
            yield from self._give(
                Turn(widths, is_full=False, rate=rate, n_partial=n_partial, contexts=contexts)
            )
            self._count(n_samples, widths)

    def _give(self, turn: Turn) -> Iterator[Turn]:
        yield turn
        if not turn.was_run:
            raise TrainingError(
                "a turn was not entered, so that the full net would have been trained in its "
                "place; run the net inside `with turn:`"
            )

    def path(self) -> tuple[Widths, ...]:
        """Return the policy's path: profiles from the full net to the floor, if it has one."""
        with self._asking("path"):
            return self._policy.path()

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

    def state(self) -> dict[str, Any]:
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

    def restore(self, state: Mapping[str, Any]) -> None:
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

    def _count(self, n_samples: int, widths: Widths) -> None:
        self.macs += self._ranks.n_ranks * n_samples * self._scorer.cost(widths)
