"""Widths chosen at once, without a supernet training and without a search.

The plain net's units are put in the order of their importance; a method then chooses widths at
each budget, and these are the only trials of the study. What comes after is as for a search.

Reference: Sun et al.: MDP, CVPR 2025, arXiv 2504.02168 (one-shot pruning by a program over widths
and blocks).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from dataclasses import replace
from typing import Any

from dpod_search.bounds import Bound
from dpod_search.bounds import Constraints
from dpod_search.bounds import split_bounds
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import RunFolderError
from dpod_search.errors import SolverError
from dpod_search.files import hash_value
from dpod_search.importance import UnitImportance
from dpod_search.latency.model import NAME as LATENCY
from dpod_search.oneshot import OneShotRequest
from dpod_search.oneshot import choose_widths
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import stopwatch
from dpod_search.pipeline.stages.correcting import correct
from dpod_search.pipeline.stages.importance import find_importance
from dpod_search.pipeline.stages.importance import make_tables
from dpod_search.pipeline.stages.importance import measure_importance
from dpod_search.programs import solve_budget
from dpod_search.quantities import percent
from dpod_search.quantities import seconds
from dpod_search.records.oneshot import OneShot
from dpod_search.records.oneshot import OneShotChoice
from dpod_search.search import Proposal
from dpod_search.search import SearchTask
from dpod_search.search.constraints import read_budget
from dpod_search.supernet import reorder_units
from dpod_search.widths import Widths


_logger = logging.getLogger(__name__)

_ANY = ("macs<=100%",)  # settings are never without one

# Widths within bounds, and what is known of them: fields of a `OneShotChoice`.
Choose = Callable[[Constraints], tuple[Widths, dict[str, Any]]]


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return what choosing depends on; nothing where a study is searched."""
    settings = session.config.oneshot
    return {"oneshot": asdict(settings)} if settings.method else {}


def order_units(session: Session) -> dict[str, str]:
    """Put the units of a trained net in the order of their importance.

    Returns:
        The groups that stay as they are, and why.
    """
    supernet = session.blank_supernet
    found = measure_importance(session, supernet, find_criterion(session.config.oneshot.method))
    reordering = reorder_units(supernet, found.by_group())
    for group, reason in reordering.left.items():
        _logger.warning("train: the units of %s keep their order: %s", group, reason)
    return dict(reordering.left)


def find_criterion(method: str) -> str:
    """Return what importance is measured by, for a method or, without one, for finetuning."""
    return {"": "group_magnitude", "magnitude": "magnitude"}.get(method, "taylor")


def propose(session: Session, task: SearchTask) -> list[Proposal]:
    """Choose widths at each budget, or read what was chosen before.

    Raises:
        ConfigError: If a budget cannot be read, or bounds what the method does not know.
        InfeasibleError: If no budget can be met; names the smallest that can be reached.
        SolverError: If a width program found nothing in its time.
    """
    content = find_choices(session, task)
    method = session.config.oneshot.method
    widths = [task.space.make(choice.widths) for choice in content.choices]
    return [Proposal(each, method) for each in dict.fromkeys(widths)]


def find_choices(session: Session, task: SearchTask) -> OneShot:
    """Return what was chosen at each budget.

    The arguments and errors are those of :func:`propose`.
    """
    settings = session.config.oneshot
    key = _find_key(session, task, settings.budgets)
    kept = None
    with suppress(CheckpointError):  # widths are chosen anew
        kept = OneShot.read_if_there(session.path)
        if kept is not None and kept.key == key:
            return kept
    if session.is_guest:
        raise RunFolderError(
            f"{session.path / OneShot.FILE} is not there, or not what was chosen at these budgets; run "
            "`dpod-search search` with the same --study and --out first"
        )
    importance = find_importance(session, find_criterion(settings.method))
    choose = _make_chooser(session, task, importance)
    # A clock does not say the same twice: what was chosen before budgets were added stays.
    earlier = settings.budgets[: len(kept.budgets)] if kept is not None else ()
    is_grown = kept is not None and kept.key == _find_key(session, task, earlier)
    choices = list(kept.choices) if kept is not None and is_grown else []
    unmet = dict(kept.unmet) if kept is not None and is_grown else {}
    has_infeasible = False
    session.progress.start(settings.method, len(settings.budgets))
    for budget in settings.budgets:
        if is_grown and budget in earlier:
            session.progress.advance(1, budget)
            continue
        try:
            choices.append(_choose_at(session, task, budget, choose))
        except (InfeasibleError, SolverError) as error:
            has_infeasible = has_infeasible or isinstance(error, InfeasibleError)
            unmet[budget] = f"{budget}: {error}"
            _logger.warning("search: %s", unmet[budget])
        session.progress.advance(1, budget)
    session.progress.finish()
    if not choices:
        kind = InfeasibleError if has_infeasible else SolverError
        raise kind("; ".join(unmet.values()))
    chosen = OneShot(key=key, method=settings.method, choices=tuple(choices), unmet=unmet)
    chosen.write(session.path)
    return chosen


def _find_key(session: Session, task: SearchTask, budgets: Sequence[str]) -> str:
    """Return the hash of all that choices at these budgets depend on."""
    return hash_value(
        {
            "weights": session.weights,
            "settings": asdict(replace(session.config.oneshot, budgets=tuple(budgets) or _ANY)),
            "constraints": dict(task.constraints),
            **session.describe_latency(),
        }
    )


def check_budgets(session: Session, task: SearchTask) -> None:
    """Check the budgets before anything is trained for them.

    Raises:
        ConfigError: If one cannot be read, or bounds what is known only when a subnet is measured.
        InfeasibleError: If not even the smallest subnet comes near any of them.
    """
    smallest = task.measure_footprint(task.space.smallest)
    # Of latency a little is left to the program: the narrowest net need not be the fastest.
    hoped = {**smallest, LATENCY: 0.8 * smallest.get(LATENCY, 0.0)}
    unmet = []
    for budget in session.config.oneshot.budgets:
        bounds = _read(task, budget)
        try:
            bounds.check_reachable(hoped)
        except InfeasibleError:
            try:
                bounds.check_reachable(smallest)  # which has the numbers for the message
            except InfeasibleError as error:
                unmet.append(f"{budget}: {error}")
    if unmet and len(unmet) == len(session.config.oneshot.budgets):
        raise InfeasibleError("; ".join(unmet))


def _read(task: SearchTask, budget: str) -> Constraints:
    full = task.measure_footprint(task.space.full)
    bounds = read_budget(budget, full, task.objectives)
    measured = next((bound.name for bound in bounds if bound.is_measured), None)
    if measured is not None:
        hint = "; bound latency, which is modelled" if measured == "latency_ms" else ""
        raise ConfigError(
            f"budget {budget!r}: {measured} is known only when a subnet is measured, and widths "
            f"are chosen before{hint}"
        )
    # What a study's own constraints say holds too: of two bounds on one name the lower one.
    own = {bound.name: bound for bound in task.bounds.exact}
    merged = [_take_lower(bound, own.pop(bound.name, None)) for bound in bounds]
    return Constraints((*merged, *own.values()))


def _take_lower(bound: Bound, other: Bound | None) -> Bound:
    if other is None or bound.limit is None or other.limit is None:
        return bound
    return bound if bound.limit <= other.limit else other


def _make_chooser(session: Session, task: SearchTask, importance: UnitImportance) -> Choose:
    settings = session.config.oneshot
    if settings.method == "mdp":
        tables = make_tables(session, importance)

        def solve(bounds: Constraints) -> tuple[Widths, dict[str, Any]]:
            found = solve_budget(task.space, tables, bounds, seconds=settings.seconds)
            solution = found.solution
            if not solution.is_proven:
                _logger.warning(
                    "search: the width program stopped after %s, at most %s below the "
                    "optimum; raise oneshot.seconds",
                    seconds(solution.seconds),
                    percent(solution.gap),
                )
            return found.widths, {
                "importance": float(solution.value),
                "bound": float(solution.bound),
                "gap": float(solution.gap),
                "is_proven": bool(solution.is_proven),
                "seconds": round(solution.seconds, 3),
            }

        return solve
    scores = importance.by_group()

    def choose(bounds: Constraints) -> tuple[Widths, dict[str, Any]]:
        request = OneShotRequest(
            task.space,
            lambda widths: bounds.are_met(task.measure_footprint(widths)),
            lambda widths: _use(bounds, task.measure_footprint(widths)),
            scores,
            per_cost=True,
            seed=session.seed,
        )
        return task.space.canonical(choose_widths(settings.method, request)), {}

    return choose


def _use(bounds: Constraints, footprint: Mapping[str, float]) -> float:
    return max(footprint[b.name] / b.limit for b in bounds if b.limit)


def _choose_at(session: Session, task: SearchTask, budget: str, choose: Choose) -> OneShotChoice:
    """Choose at one budget; where latency is bounded, what is measured has to be within it."""
    bounds = _read(task, budget)
    of_latency = next((b for b in bounds if b.name == LATENCY), None)
    is_asked = LATENCY in split_bounds(budget)
    if of_latency is None or not is_asked or not stopwatch.can_measure(session):
        widths, known = choose(bounds)
        return _describe(task, budget, widths, known)
    full = task.measure_footprint(task.space.full)[LATENCY]
    assert of_latency.limit is not None
    wished = of_latency.limit / full
    # A constraint of the study is on the model's latency, which then must not be exceeded.
    most = 1.0 if LATENCY in task.constraints else math.inf
    found = correct(
        lambda factor: choose(_lower(bounds, of_latency, min(factor, most))),
        lambda widths: stopwatch.confirm_share(session, widths, wished),
        wished=wished,
        n_corrections=session.config.oneshot.n_corrections,
    )
    if found.share > wished:
        _logger.warning(
            "search: %s: the subnet takes %s of the full net's time where %s were wished; "
            "no nearer one was found", budget, percent(found.share), percent(wished),
        )  # fmt: skip
    measured = {"measured_share": round(found.share, 4), "n_corrections": found.n_corrections}
    return _describe(task, budget, found.widths, {**found.known, **measured})


def _lower(bounds: Constraints, bound: Bound, factor: float) -> Constraints:
    assert bound.limit is not None
    lower = replace(bound, limit=factor * bound.limit)
    return Constraints(tuple(lower if each is bound else each for each in bounds))


def _describe(
    task: SearchTask, budget: str, widths: Widths, known: Mapping[str, Any]
) -> OneShotChoice:
    sizes = dict(task.measure_footprint(widths))
    return OneShotChoice(budget=budget, widths=dict(widths), footprint=sizes, **known)
