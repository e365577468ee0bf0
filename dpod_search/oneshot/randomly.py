"""Random widths that use the budget: what any method must beat.

A subnet is drawn with every rung of every group equally likely, blocks among them. Random groups are
lowered by a rung until it is within the budget, then random ones raised until none can be.
"""

from __future__ import annotations

import numpy as np

from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.request import require
from dpod_search.rng import numpy_generator
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


def choose_randomly(request: OneShotRequest) -> Widths:
    """Choose random widths within the budget, of which no single one can be raised.

    Raises:
        InfeasibleError: If not even the smallest subnet is within it.
    """
    space = request.space
    require(request, space.canonical(space.smallest), "the smallest subnet")
    rng = numpy_generator(request.seed, "oneshot", "random")
    widths = space.canonical(space.sample(rng))
    while not request.is_met(widths):
        moves = _list_moves(space, widths, -1)
        widths = moves[_draw(list(moves), rng)]
    closed: set[int] = set()
    while moves := {g: w for g, w in _list_moves(space, widths, 1).items() if g not in closed}:
        group = _draw(list(moves), rng)
        if request.is_met(moves[group]):
            widths = moves[group]
        else:
            closed.add(group)  # while others grow, this one will never fit again
    return widths


def _list_moves(space: WidthSpace, widths: Widths, step: int) -> dict[int, Widths]:
    """Return by group the subnets in which it alone is a rung wider, or narrower.

    A group inside a removed block cannot move: that would be the same subnet.
    """
    rungs = space.to_rungs(widths)
    moves = {}
    for group, (rung, n_rungs) in enumerate(zip(rungs, space.n_rungs, strict=True)):
        if 0 <= rung + step < n_rungs:
            moved = [*rungs]
            moved[group] += step
            changed = space.canonical(space.from_rungs(moved))
            if changed != widths:
                moves[group] = changed
    return moves


def _draw(groups: list[int], rng: np.random.Generator) -> int:
    return groups[int(rng.integers(len(groups)))]
