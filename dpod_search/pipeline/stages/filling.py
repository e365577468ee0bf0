"""Trials besides those of a search, for its budgets: subnets as wide as a budget allows.

A search meets budgets from below, and finetuning makes more of a larger subnet than of a smaller
one. So what would be chosen is widened, and tried, in the end; and so is the uniform subnet of each
budget, which nobody regrets: whatever is chosen has to be better than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from dpod_search.bounds import Constraints
from dpod_search.errors import InfeasibleError
from dpod_search.oneshot import OneShotRequest
from dpod_search.oneshot import choose_widths
from dpod_search.oneshot import fill
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.choosing import choose_near
from dpod_search.pipeline.stages.choosing import may_be_larger
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.search import Proposal
from dpod_search.search import SearchResult
from dpod_search.search import SearchTask
from dpod_search.search.constraints import read_budget
from dpod_search.widths import Widths
from dpod_search.widths import lies_in


_UNIFORM, _FILLED = _SOURCES = ("uniform", "filled")


def _read_budgets(session: Session, task: SearchTask) -> Mapping[str, Constraints]:
    """Return the budgets that are filled: those on footprints alone.

    Args:
        session: The run; without a search, or where more than accuracy counts, it has none.
        task: What its search is about.
    """
    if session.config.oneshot.method or not may_be_larger(session):
        return {}
    full = task.measure_footprint(task.space.full)
    budgets = session.config.finetune.budgets
    read = {budget: read_budget(budget, full, task.objectives) for budget in budgets}
    return {budget: bounds for budget, bounds in read.items() if not len(bounds.measured)}


def fills_all(session: Session, task: SearchTask) -> bool:
    """Say whether there are budgets, and each is filled by a uniform subnet, without a search."""
    n_budgets = len(session.config.finetune.budgets)
    budgets = _read_budgets(session, task)
    try:
        for bounds in budgets.values():
            choose_widths("uniform", _make_request(task, bounds))
    except InfeasibleError:  # such small ones lack a block, or have other shapes
        return False
    return 0 < n_budgets == len(budgets)


def list_closing(session: Session, task: SearchTask, result: SearchResult) -> list[Proposal]:
    """Return for each budget the uniform subnet that fills it, and what would be chosen, widened.

    Args:
        session: The run.
        task: What its search is about.
        result: What that has found. Only what it has tried by itself counts, so that this is the
            same whenever it is asked.
    """
    budgets = _read_budgets(session, task)
    space = task.space
    proposals = []
    for bounds in budgets.values():
        request = _make_request(task, bounds)
        with suppress(InfeasibleError):
            uniform = choose_widths("uniform", request)
            proposals.append(Proposal(fill(request, uniform, space.full), _UNIFORM))
    limits = task.bounds.resolve(result.full)
    found = [
        Candidate(trial.number, trial.widths, trial.values, trial.footprint)
        for trial in result.trials
        if trial.values
        and trial.source not in _SOURCES
        and limits.are_met({**trial.footprint, **trial.values})
    ]
    best, _ = Front(tuple(found), task.objectives, result.full).split_by_budget(list(budgets))
    chosen = choose_near(session, best, result.full, found)
    around = space.full
    for budget, item in sorted(chosen.items(), key=lambda pair: -pair[1].footprint["macs"]):
        if not session.config.finetune.chain or not lies_in(item.widths, around):
            around = space.full
        around = fill(_make_request(task, budgets[budget]), item.widths, around)
        proposals.append(Proposal(around, _FILLED))
    return proposals


def _make_request(task: SearchTask, budget: Constraints) -> OneShotRequest:
    """Ask for widths within a budget, and within what else bounds the footprint."""
    bounds = Constraints((*budget, *task.bounds.exact))

    def measure(widths: Widths) -> float:
        sizes = task.measure_footprint(widths)
        return max((sizes[b.name] / b.limit for b in bounds if b.limit), default=0.0)

    return OneShotRequest(
        task.space, lambda widths: bounds.are_met(task.measure_footprint(widths)), measure
    )
