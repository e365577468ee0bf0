"""Seeds from the width program: the widths that keep most importance at a ladder of budgets.

Reference: Sun et al.: MDP, CVPR 2025, arXiv 2504.02168 (the program; the ladder, and what is done
with its answers, is ours).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from dpod_search.bounds import Bound
from dpod_search.bounds import Constraints
from dpod_search.errors import InfeasibleError
from dpod_search.errors import SolverError
from dpod_search.programs import WidthTables
from dpod_search.programs import solve_budget
from dpod_search.search.seeds.proposal import Proposal
from dpod_search.search.seeds.proposal import ProposalRequest
from dpod_search.search.task import SearchTask


SECONDS = 20.0  # for each budget
FLOOR = 1e-3  # of the full net's cost: a cost of 0 has no logarithm

_logger = logging.getLogger(__name__)


def propose_mdp(request: ProposalRequest) -> Sequence[Proposal]:
    """Propose the best subnets at budgets that are evenly spaced in the logarithm.

    Args:
        request: Its setting ``n_mdp`` says how many budgets, and its tables what widths cost and
            keep; without them nothing is proposed.

    Returns:
        Proposals from the largest budget to the smallest; fewer where budgets are out of reach or
        have the same answer.
    """
    tables, n = request.tables, request.settings.n_mdp
    if tables is None or n == 0 or not tables.costs:
        return []
    known = _find_bounds(request.task, tables)
    name = _choose_cost(request.task, tables)
    found = []
    for budget in _list_budgets(request.task, tables, name, n):
        # Of two bounds on one cost the lower one says it all.
        least = min([budget, *(b.limit for b in known if b.name == name and b.limit is not None)])
        own = Bound(name, least, f"<= {least:g}")
        bounds = Constraints((own, *(bound for bound in known if bound.name != name)))
        try:
            solved = solve_budget(request.task.space, tables, bounds, seconds=SECONDS)
        except (InfeasibleError, SolverError) as error:
            _logger.info("no seed from the width program at %s: %s", own.text, error)
            continue
        found.append(Proposal(solved.widths, "mdp"))
    return list(dict.fromkeys(found))


def _find_bounds(task: SearchTask, tables: WidthTables) -> list[Bound]:
    return [b for b in task.bounds.exact if b.name in tables.costs and b.sense == "<="]


def _choose_cost(task: SearchTask, tables: WidthTables) -> str:
    footprints = [o.name for o in task.objectives if not o.is_measured and o.name in tables.costs]
    return footprints[0] if footprints else next(iter(tables.costs))


def _list_budgets(task: SearchTask, tables: WidthTables, name: str, n: int) -> list[float]:
    ends = np.array([task.space.to_rungs(w) for w in (task.space.smallest, task.space.full)])
    low, high = np.max([each.at(ends) for each in tables.costs[name]], axis=0)
    if not high > 0:
        return []
    steps = np.geomspace(high, max(low, FLOOR * high), n + 2)[1:-1]
    return [float(step) for step in steps]
