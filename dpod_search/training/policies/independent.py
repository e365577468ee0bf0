"""Independent widths: every group draws its rung on its own, all rungs equally likely.

Each step trains ``n_subnets`` such subnets. With distillation the full net runs first and teaches
them; without, only they run. This is the plain way to train a space in which every group has a
width of its own: it spends its steps evenly over the rungs of each group, and in the middle of
the range of costs, where most random subnets lie.

References:
    Guo et al.: Single Path One-Shot, 2019 (arXiv 1904.00420): choices drawn uniformly and
    independently, also of channels.
    Horvath et al.: FjORD, 2021 (arXiv 2102.13451): ordered dropout.
    Ours: with distillation the full net of the same step teaches; the warm-up.
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
class IndependentOptions:
    """How many subnets a step trains, and from when on.

    Args:
        n_subnets: Subnets drawn each step, 1 to 1,000.
        warmup_share: Share of the steps that train the full net alone, 0 to 0.99.
    """

    n_subnets: int = 1
    warmup_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_count("n_subnets", self.n_subnets, low=1, high=1_000)
        check_range("warmup_share", self.warmup_share, low=0, high=0.99)


class IndependentPolicy(Memoryless):
    """Every group draws its own rung.

    Args:
        context: The space, and whether subnets learn from the full net.
        options: How many subnets a step trains.
    """

    def __init__(self, context: PolicyContext, options: IndependentOptions | None = None) -> None:
        """Keep what the draws need."""
        self._context = context
        self._options = options or IndependentOptions()
        self._n_warmup = round(self._options.warmup_share * context.n_steps)

    def plan(self, step: int) -> Plan:
        """Return subnets drawn at random, and the full net if it teaches."""
        if step < self._n_warmup:
            return Plan(full=True, partial=())
        rng = numpy_generator(self._context.seed, "independent/rungs", step)
        drawn = [self._context.space.sample(rng) for _ in range(self._options.n_subnets)]
        return plan_subnets(self._context, drawn, needs_full=False)
