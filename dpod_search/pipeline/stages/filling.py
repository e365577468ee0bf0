"""Trials of a search that its budgets ask for: subnets as wide as a budget allows.

First the uniform ones, which nobody regrets and the search has to be better than. And in the end
what would be chosen, filled up: a search meets budgets from below, and finetuning makes more of a
larger subnet than of a smaller one.
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


_UNIFORM, _FILLED = BUDGET_SOURCES = ("uniform", "filled")


def read_budgets(session: Session, task: SearchTask) -> Mapping[str, Constraints]:
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


def list_uniform(session: Session, task: SearchTask) -> list[Proposal]:
    """Return for each budget the uniform subnet that fills it, if there is one.

    Args:
        session: The run.
        task: What its search is about.
    """
    found = []
    for bounds in read_budgets(session, task).values():
        request = _make_request(task, bounds)
        with suppress(InfeasibleError):
            uniform = choose_widths("uniform", request)
            found.append(Proposal(fill(request, uniform, task.space.full), _UNIFORM))
    return found


def list_filled(session: Session, task: SearchTask, result: SearchResult) -> list[Proposal]:
    """Return for each budget what would be chosen for it, as wide as it may be.

    Args:
        session: The run.
        task: What its search is about.
        result: What that has found. Only what it has tried by itself counts, so that this is the
            same whenever it is asked.

    Returns:
        What has not been tried, the largest first.
    """
    budgets = read_budgets(session, task)
    found = [
        Candidate(trial.number, trial.widths, trial.values, trial.footprint)
        for trial in result.trials
        if trial.values and trial.source != _FILLED
    ]
    best, _ = Front(tuple(found), task.objectives, result.full).split_by_budget(list(budgets))
    chosen = choose_near(session, best, result.full, found)
    around, filled = task.space.full, []
    for budget, item in sorted(chosen.items(), key=lambda pair: -pair[1].footprint["macs"]):
        if not session.config.finetune.chain or not lies_in(item.widths, around):
            around = task.space.full
        around = fill(_make_request(task, budgets[budget]), item.widths, around)
        filled.append(Proposal(around, _FILLED))
    tried = {trial.widths for trial in result.trials}
    return [proposal for proposal in filled if proposal.widths not in tried]


def _make_request(task: SearchTask, budget: Constraints) -> OneShotRequest:
    """Ask for widths within a budget, and within what else bounds the footprint."""
    bounds = Constraints((*budget, *task.bounds.exact))

    def measure(widths: Widths) -> float:
        sizes = task.measure_footprint(widths)
        return max((sizes[b.name] / b.limit for b in bounds if b.limit), default=0.0)

    return OneShotRequest(
        task.space, lambda widths: bounds.are_met(task.measure_footprint(widths)), measure
    )
