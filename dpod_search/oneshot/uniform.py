"""Uniform widths: the largest width ratio, the same for all groups, that is within the budget.

Reference: Howard et al.: MobileNets, 2017, section 3.3 (arXiv 1704.04861), the width multiplier.
Blocks are kept.
"""

from __future__ import annotations

from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.request import find_largest
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import Widths


def choose_uniform(request: OneShotRequest) -> Widths:
    """Choose the largest uniform subnet within the budget, of the ratios that some rung has.

    Raises:
        InfeasibleError: If not even the smallest uniform subnet is within it.
    """
    space = request.space
    ladders = [rungs for rungs in space.rungs if rungs != BLOCK_RUNGS]
    ratios = sorted({width / rungs[-1] for rungs in ladders for width in rungs} | {1.0})
    chain = list(dict.fromkeys(space.uniform(ratio) for ratio in ratios))
    return find_largest(request, chain, "the smallest uniform subnet")
