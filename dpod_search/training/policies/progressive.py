"""Progressive shrinking by phases: the space opens from the full net downwards.

Warm-up trains the full net alone. Then come phases at even intervals; each opens further rungs
of every group, from the top down, until all are open. A step trains subnets with every open rung
of every group equally likely, distilled from the full net of the same step.

References:
    Cai et al.: Once-for-All, 2019 (arXiv 1908.09791), section 3.3: the full net first, then
    progressively smaller subnets, distilled from the full net together with the labels.
    Ours: the teacher is the full net of the same step, which goes on learning from the labels;
    OFA's teacher is the full net as it was at the end of its own training, frozen. Width is the
    main dimension here, so each phase opens rungs of all groups at once; a block, which has two
    rungs, is opened by the first phase, as OFA opens depth before width. OFA sorts channels by
    their importance before it narrows them; ordered dropout makes that order itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.rng import numpy_generator
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.training.policies.drawing import plan_subnets


@dataclass(frozen=True)
class ProgressiveOptions:
    """When the rungs open, and how many subnets a step trains.

    Args:
        warmup_share: Share of the steps that train the full net alone, 0 to 0.99.
        growth_end: Share of the steps at which the last phase begins, in [``warmup_share``, 1].
        n_phases: Phases, 1 to 1,000; None for one a reduced rung of the longest ladder.
        n_subnets: Subnets drawn each step, 1 to 1,000.
    """

    warmup_share: float = 0.25
    growth_end: float = 0.75
    n_phases: int | None = None
    n_subnets: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("warmup_share", self.warmup_share, low=0, high=0.99)
        check_range("growth_end", self.growth_end, low=self.warmup_share, high=1)
        if self.n_phases is not None:
            check_count("n_phases", self.n_phases, low=1, high=1_000)
        check_count("n_subnets", self.n_subnets, low=1, high=1_000)


class ProgressivePolicy(Memoryless):
    """Random subnets of a space that opens phase by phase.

    Args:
        context: The space, and the number of steps.
        options: When the rungs open.
    """

    def __init__(self, context: PolicyContext, options: ProgressiveOptions | None = None) -> None:
        """Set the first step of every phase."""
        self._context = context
        self._options = options or ProgressiveOptions()
        longest = max(context.space.n_rungs) - 1
        self._n_phases = self._options.n_phases or max(1, longest)
        self._starts = [self._find_start(phase) for phase in range(1, self._n_phases + 1)]

    def plan(self, step: int) -> Plan:
        """Return the full net alone, or, after warm-up, with subnets of the open rungs."""
        phase = sum(step >= start for start in self._starts)
        if phase == 0:
            return Plan(full=True, partial=())
        rng = numpy_generator(self._context.seed, "progressive/rungs", step)
        space = self._context.space
        lowest = [self._find_lowest(n_rungs, phase) for n_rungs in space.n_rungs]
        drawn = [
            space.from_rungs(rng.integers(lowest, space.n_rungs))
            for _ in range(self._options.n_subnets)
        ]
        return plan_subnets(self._context, drawn, needs_full=False)

    def _find_start(self, phase: int) -> int:
        options, n_steps = self._options, self._context.n_steps
        done = (phase - 1) / max(1, self._n_phases - 1)
        share = options.warmup_share + done * (options.growth_end - options.warmup_share)
        # The last step has everything open, however few steps there are.
        return min(round(share * n_steps), n_steps - 1)

    def _find_lowest(self, n_rungs: int, phase: int) -> int:
        n_open = math.ceil((n_rungs - 1) * phase / self._n_phases)
        return n_rungs - 1 - n_open
