"""Seeds from the path, and from a ladder of uniform subnets: one width ratio for all groups.

Reference: Horvath et al.: FjORD, 2021, arXiv 2102.13451 (uniform ordered dropout).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpod_search.search.seeds.proposal import Proposal
from dpod_search.search.seeds.proposal import ProposalRequest
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


def propose_ladder(request: ProposalRequest) -> Sequence[Proposal]:
    """Propose uniform subnets evenly spaced in the logarithm of their footprint.

    Args:
        request: Its setting ``n_ladder`` says how many; fewer if the space has fewer.

    Returns:
        Proposals from the full net to the smallest.
    """
    rungs = _list_uniform(request.task.space)
    n = min(request.settings.n_ladder, len(rungs))
    if n == 0:
        return []
    # The first footprint is macs, the one that spreads subnets most.
    costs = [next(iter(request.task.measure_footprint(w).values())) for w in rungs]
    logs = np.log(np.maximum(costs, 1e-12))
    chosen = []
    left = list(range(len(rungs)))
    for target in np.linspace(logs[-1], logs[0], n):
        nearest = min(left, key=lambda i: (abs(logs[i] - target), i))
        chosen.append(nearest)
        left.remove(nearest)
    return [Proposal(rungs[i], "ladder") for i in sorted(chosen, reverse=True)]


def _list_uniform(space: WidthSpace) -> list[Widths]:
    # From the smallest to the full net, without repetition.
    ratios = {width / rungs[-1] for rungs in space.rungs for width in rungs}
    uniform = [space.smallest, *(space.uniform(ratio) for ratio in sorted(ratios)), space.full]
    return list(dict.fromkeys(uniform))


def propose_path(request: ProposalRequest) -> Sequence[Proposal]:
    """Propose the profiles that progressive shrinking went through, from the full net to the floor.

    The supernet was trained on them and on what lies one layer away, so here it is at its best.
    """
    return [Proposal(widths, "path") for widths in request.path]
