"""Choosers that go along a chain of subnets, each as wide as the one before, to the last within the budget.

Uniform ones have one width ratio for all groups; blocks are kept.

The others put one threshold on the scores of all units, and lower it until the budget is used. At a
threshold a group keeps as many units as score above it, rounded up to a rung, and its narrowest
rung at least. What is kept is a prefix, so the units should stand in the order of their scores; of
a group in which they do not, the number counts all the same. Lowering the threshold raises one
group after the other by a rung, in an order that does not depend on the budget, which makes a chain.

References:
    Howard et al.: MobileNets, 2017, section 3.3 (arXiv 1704.04861): the width multiplier.
    Han et al.: Learning both Weights and Connections, 2015 (arXiv 1506.02626), and by channels
    Li et al., 2017 (arXiv 1608.08710): global magnitude pruning.
    Molchanov et al.: Importance Estimation for Neural Network Pruning, 2019 (arXiv 1906.10771):
    global pruning by Taylor importance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.request import require
from dpod_search.pareto import FloatArray
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


def choose_by_magnitude(request: OneShotRequest) -> Widths:
    """Choose widths by one threshold on the units' magnitudes.

    Layers have weights of different scale, so the magnitudes of each group are divided by their
    root mean square before one threshold is put on all. (Divided by their Euclidean norm alone,
    the units of wide groups would all look small: such subnets were far worse at equal macs.)

    Args:
        request: Its scores are the magnitudes.

    Raises:
        ConfigError: If there are no scores, or those of other groups.
        InfeasibleError: If the narrowest rungs with all blocks are not within the budget.
    """
    scores = _require_scores(request, "magnitude")
    normalised = [
        None if values is None else values / max(float(np.sqrt(np.mean(values**2))), 1e-300)
        for values in scores
    ]
    return _cut_at_threshold(request, normalised)


def choose_by_taylor(request: OneShotRequest) -> Widths:
    """Choose widths by one threshold on what the loss is held to lose by a unit.

    Scores are losses, so they are compared between layers as they are. Ours: with ``per_cost``
    they are losses for each share of the budget, as the density of a knapsack's items is: a
    group's units all cost alike, what it saves from the full net at its narrowest.

    Args:
        request: Its scores are the importance.

    Raises:
        ConfigError: If there are no scores, or those of other groups.
        InfeasibleError: If the narrowest rungs with all blocks are not within the budget.
    """
    scores = _require_scores(request, "taylor")
    if request.per_cost:
        scores = [
            None if values is None else values / _measure_unit(request, group)
            for group, values in enumerate(scores)
        ]
    return _cut_at_threshold(request, scores)


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


def _cut_at_threshold(request: OneShotRequest, scores: Sequence[FloatArray | None]) -> Widths:
    """Choose the largest subnet within the budget that a threshold gives. Blocks are kept.

    Args:
        request: The space and the budget.
        scores: Comparable between groups, as :func:`_require_scores` returns them.

    Raises:
        InfeasibleError: If the narrowest rungs with all blocks are not within the budget.
    """
    space = request.space
    rungs = [
        n - 1 if r == BLOCK_RUNGS else 0 for n, r in zip(space.n_rungs, space.rungs, strict=True)
    ]
    chain = [space.from_rungs(rungs)]
    for group in _list_raises(request, scores):
        rungs[group] += 1
        chain.append(space.from_rungs(rungs))
    return find_largest(request, chain, "the smallest subnet with all its blocks")


def _require_scores(request: OneShotRequest, method: str) -> list[FloatArray | None]:
    """Return the scores of a request.

    Raises:
        ConfigError: If those of a group are missing, of another width, negative or not finite.
    """
    space = request.space
    if len(request.scores) != len(space.rungs):
        raise ConfigError(
            f"{method} needs scores of all {len(space.rungs)} groups, got {len(request.scores)}"
        )
    checked: list[FloatArray | None] = []
    for name, rungs, scores in zip(space.names, space.rungs, request.scores, strict=True):
        if rungs == BLOCK_RUNGS:
            checked.append(None)
            continue
        array = np.asarray([] if scores is None else scores, dtype=np.float64)
        if array.shape != (rungs[-1],) or not np.all(np.isfinite(array) & (array >= 0)):
            raise ConfigError(
                f"{method} needs {rungs[-1]} finite scores >= 0 of {name}, one a unit, got "
                f"{'none' if scores is None else f'{array.size}, least {array.min(initial=0):g}'}"
            )
        checked.append(array)
    return checked


def _list_raises(request: OneShotRequest, scores: Sequence[FloatArray | None]) -> list[int]:
    """Return the groups in the order in which they are raised by a rung."""
    raises: list[tuple[float, float, int]] = []
    for group, (rungs, values) in enumerate(zip(request.space.rungs, scores, strict=True)):
        if values is None:
            continue
        best_first = np.sort(values)[::-1]
        # A rung is left as soon as one more unit is above the threshold. Ties are raised from the
        # narrowest groups on.
        raises += [(-float(best_first[w]), w / rungs[-1], group) for w in rungs[:-1]]
    return [group for *_, group in sorted(raises)]


def find_largest(request: OneShotRequest, chain: Sequence[Widths], what: str) -> Widths:
    """Return the last subnet of a chain that is within the budget, by bisection.

    Args:
        request: The budget.
        chain: Subnets, each at least as wide as the one before in every group.
        what: What the first of them is the smallest of, for the message.

    Raises:
        InfeasibleError: If not even the first is within the budget.
    """
    require(request, chain[0], what)
    low, high = 0, len(chain) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if request.is_met(chain[middle]):
            low = middle
        else:
            high = middle - 1
    return chain[low]
