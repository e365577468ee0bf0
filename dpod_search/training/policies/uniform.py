"""Uniform ordered dropout: one width ratio for the whole net, drawn anew each step.

Each step draws one ratio of the ladder, all equally likely, and trains the subnet in which every
group has that ratio of its channels. With distillation the full net runs first and teaches it;
without, only the subnet runs, and the full net is one of those that may be drawn.

References:
    Horvath et al.: FjORD, 2021 (arXiv 2102.13451): ordered dropout with one ratio for all layers,
    drawn uniformly from a discrete set; optionally the widest net teaches the drawn one.
    Ours: with distillation the ratio 1 is left out of the draw, since the full net runs anyway.
    FjORD removes no blocks: here each block stays with the probability that is the ratio, so
    that, in the mean, as large a share of the blocks as of the channels is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpod_search.rng import numpy_generator
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.training.policies.drawing import list_ratios
from dpod_search.training.policies.drawing import plan_subnets
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import Widths


@dataclass(frozen=True)
class UniformOptions:
    """Uniform ordered dropout has no options."""


class UniformPolicy(Memoryless):
    """One ratio for all groups.

    Args:
        context: The space, and whether subnets learn from the full net.
        options: None to choose.
    """

    def __init__(self, context: PolicyContext, options: UniformOptions | None = None) -> None:
        """Find the ladder of ratios."""
        del options  # there is nothing in them
        self._context = context
        ratios = list_ratios(context.space)
        has_blocks = BLOCK_RUNGS in context.space.rungs
        # Where blocks are all there is to choose, ratios are the shares of them that stay.
        self._ratios = (0.5, 1.0) if ratios == (1.0,) and has_blocks else ratios

    def plan(self, step: int) -> Plan:
        """Return the subnet of one ratio, and the full net if it teaches."""
        choices = self._ratios[:-1] if self._context.distills else self._ratios
        if not choices:
            return Plan(full=True, partial=())
        rng = numpy_generator(self._context.seed, "uniform/ratio", step)
        ratio = choices[int(rng.integers(len(choices)))]
        return plan_subnets(self._context, [self._make(ratio, rng)], needs_full=False)

    def _make(self, ratio: float, rng: np.random.Generator) -> Widths:
        """Return, in every group, the narrowest rung that is not below the ratio, as rounding up does."""
        space = self._context.space
        active = []
        for rungs in space.rungs:
            if rungs == BLOCK_RUNGS:
                active.append(int(rng.random() < ratio))
            else:
                least = ratio * rungs[-1] - 1e-9
                active.append(next(width for width in rungs if width >= least))
        return Widths(space.names, tuple(active))
