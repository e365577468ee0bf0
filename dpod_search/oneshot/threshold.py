"""One threshold on the scores of all units, lowered until the budget is used.

At a threshold a group keeps as many units as score above it, rounded up to a rung, and its
narrowest rung at least. What is kept is a prefix, so the units should stand in the order of their
scores; of a group in which they do not, the number counts all the same. Lowering the threshold
raises one group after the other by a rung, in an order that does not depend on the budget:
the subnets of it are a chain, of which the largest within the budget is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.request import find_largest
from dpod_search.pareto import FloatArray
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import Widths


def cut_at_threshold(request: OneShotRequest, scores: Sequence[FloatArray | None]) -> Widths:
    """Choose the largest subnet within the budget that a threshold gives. Blocks are kept.

    Args:
        request: The space and the budget.
        scores: Comparable between groups, as :func:`check_scores` returns them.

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


def check_scores(request: OneShotRequest, method: str) -> list[FloatArray | None]:
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
