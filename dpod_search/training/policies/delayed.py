"""Delayed shrinking: the full net alone for half of the training, then a slow start of subnets.

In the first part only the full net is trained. From then on each step follows the sandwich rule:
the full net learns from the labels and teaches the smallest subnet and random ones. So that they
do not upset the weights that the full net has found, their learning rates begin at a small share
of the step's and grow, step by step, to the whole.

References:
    Annavajjala, Khare et al.: Delayed epsilon-Shrinking, 2024 (arXiv 2407.06167): shrinking
    begins when the full net is about half trained; the learning rates of subnets are raised
    gradually; sandwich rule with in-place distillation. In the authors' published code the rate
    grows linearly with the iterations, from nothing.
    Ours: the growth is linear in the share of the step's rate, begins at ``epsilon`` and lasts
    for ``ramp_share`` of the training, after the first part and not at its end; a share multiplies
    the gradients of its subnet; the random subnets draw each group's rung on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.rng import numpy_generator
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.training.policies.drawing import plan_subnets


@dataclass(frozen=True)
class DelayedOptions:
    """When shrinking begins, and how slowly.

    Args:
        start_share: Share of the steps that train the full net alone, 0 to 0.99.
        epsilon: Share of the learning rate that subnets begin with, in (0, 1].
        ramp_share: Share of the steps over which their rates grow to the whole, in [0, 1].
        n_random: Random subnets each step, besides the smallest, 0 to 1,000.
    """

    start_share: float = 0.5
    epsilon: float = 0.01
    ramp_share: float = 0.1
    n_random: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("start_share", self.start_share, low=0, high=0.99)
        check_range("epsilon", self.epsilon, low=1e-12, high=1)
        check_range("ramp_share", self.ramp_share, low=0, high=1)
        check_count("n_random", self.n_random, low=0, high=1_000)


class DelayedPolicy(Memoryless):
    """The full net for a while, then a sandwich whose subnets start slowly.

    Args:
        context: The space, and the number of steps.
        options: When shrinking begins, and how slowly.
    """

    def __init__(self, context: PolicyContext, options: DelayedOptions | None = None) -> None:
        """Set the steps at which subnets begin, and have the whole rate."""
        self._context = context
        self._options = options or DelayedOptions()
        n_steps = context.n_steps
        # The last step trains subnets, however few steps there are.
        self._start = min(round(self._options.start_share * n_steps), n_steps - 1)
        self._n_ramp = round(self._options.ramp_share * n_steps)

    def plan(self, step: int) -> Plan:
        """Return the full net alone, and later with subnets at the share they have by then."""
        if step < self._start:
            return Plan(full=True, partial=())
        space = self._context.space
        rng = numpy_generator(self._context.seed, "delayed/rungs", step)
        drawn = [space.sample(rng) for _ in range(self._options.n_random)]
        return plan_subnets(
            self._context, [space.smallest, *drawn], needs_full=True, rate=self._find_rate(step)
        )

    def _find_rate(self, step: int) -> float:
        done = step - self._start
        if done >= self._n_ramp:
            return 1.0
        epsilon = self._options.epsilon
        return epsilon + (1 - epsilon) * done / self._n_ramp
