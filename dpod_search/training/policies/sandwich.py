"""The sandwich rule: each step trains the full net, the smallest one and random ones between.

The largest and the smallest subnet bound the quality of all others, so both are trained at every
step; the random ones have every rung of every group equally likely. The full net learns from the
labels and teaches the others. Without distillation it runs all the same, and all learn from the
labels.

References:
    Yu and Huang: Universally Slimmable Networks, 2019 (arXiv 1903.05134): sandwich rule, in-place
    distillation; four nets a step, of which two are random.
    Yu et al.: BigNAS, 2020 (arXiv 2003.11142): the same with random subnets in several
    dimensions, and distillation alone for all but the full net.
    Ours: the random subnets draw each group's rung on its own (US-Nets: one ratio for all).
"""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.errors import check_count
from dpod_search.rng import numpy_generator
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.training.policies.drawing import plan_subnets


@dataclass(frozen=True)
class SandwichOptions:
    """How many subnets lie between the full net and the smallest.

    Args:
        n_random: Random subnets each step, 0 to 1,000.
    """

    n_random: int = 2

    def __post_init__(self) -> None:
        """Check the range."""
        check_count("n_random", self.n_random, low=0, high=1_000)


class SandwichPolicy(Memoryless):
    """The full net, the smallest and some between.

    Args:
        context: The space.
        options: How many subnets lie between.
    """

    def __init__(self, context: PolicyContext, options: SandwichOptions | None = None) -> None:
        """Keep what the draws need."""
        self._context = context
        self._options = options or SandwichOptions()

    def plan(self, step: int) -> Plan:
        """Return the full net, the smallest, and random ones."""
        space = self._context.space
        rng = numpy_generator(self._context.seed, "sandwich/rungs", step)
        drawn = [space.sample(rng) for _ in range(self._options.n_random)]
        return plan_subnets(self._context, [space.smallest, *drawn], needs_full=True)
