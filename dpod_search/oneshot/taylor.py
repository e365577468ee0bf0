"""Global pruning by Taylor importance: one threshold on what the loss is held to lose by a unit.

Reference: Molchanov et al.: Importance Estimation for Neural Network Pruning, 2019
(arXiv 1906.10771): scores are losses, so they are compared between layers as they are.
Ours: with ``per_cost`` they are losses for each share of the budget, as the density of a knapsack's
items is: a group's units all cost alike, what it saves from the full net at its narrowest.
"""

from __future__ import annotations

import math

from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.threshold import check_scores
from dpod_search.oneshot.threshold import cut_at_threshold
from dpod_search.widths import Widths


def choose_by_taylor(request: OneShotRequest) -> Widths:
    """Choose widths by one threshold on the units' importance.

    Args:
        request: Its scores are the importance.

    Raises:
        ConfigError: If there are no scores, or those of other groups.
        InfeasibleError: If the narrowest rungs with all blocks are not within the budget.
    """
    scores = check_scores(request, "taylor")
    if request.per_cost:
        scores = [
            None if values is None else values / _measure_unit(request, group)
            for group, values in enumerate(scores)
        ]
    return cut_at_threshold(request, scores)


def _measure_unit(request: OneShotRequest, group: int) -> float:
    """Return the share of the budget that a unit of a group takes in the full net."""
    space = request.space
    name, rungs = space.names[group], space.rungs[group]
    n_units = rungs[-1] - rungs[0]
    if n_units == 0:
        return 1.0  # there is nothing to choose
    saved = request.measure(space.full) - request.measure(space.full.replace(name, rungs[0]))
    # What costs nothing is kept before all else.
    return max(saved / n_units, math.ulp(1.0))
