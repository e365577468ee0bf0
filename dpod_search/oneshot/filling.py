"""Filling a budget: the shape of a subnet is kept, and its widths grow as far as the budget allows."""

from __future__ import annotations

from dpod_search.oneshot.chains import find_largest
from dpod_search.oneshot.request import OneShotRequest
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import Widths


def fill(request: OneShotRequest, shape: Widths, around: Widths) -> Widths:
    """Widen a subnet until no group can go a rung further within the budget.

    All groups are widened by the same factor as nearly as rungs allow, a rung at a time where the
    next factor would be the smallest. Where a group is as wide as it may be, the others go on.
    Blocks stay as they are.

    Args:
        request: The space and the budget.
        shape: The subnet.
        around: No group is made wider than in this one.

    Returns:
        Widths within the budget, no narrower than the shape in any group that counts.

    Raises:
        InfeasibleError: If the shape is not within the budget.
    """
    space = request.space
    raises = sorted(
        (wider / shape[name], name, wider)
        for name, rungs in zip(space.names, space.rungs, strict=True)
        if rungs != BLOCK_RUNGS
        for wider in rungs
        if shape[name] < wider <= around[name]
    )
    chain = [shape]
    for _, name, wider in raises:
        chain.append(chain[-1].replace(name, wider))
    filled = find_largest(request, chain, "the subnet")
    # What is left is too little for the group whose turn it was, but not for every other.
    stuck: set[str] = set()
    for _, name, wider in raises[chain.index(filled) :]:
        wished = filled.replace(name, wider)
        if name not in stuck and request.is_met(wished):
            filled = wished
        else:
            stuck.add(name)
    return space.canonical(filled)
