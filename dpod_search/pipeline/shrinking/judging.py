"""What came of the budgets of a goal, as the front of a run says: decided on validation alone."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from dpod_search.goals import LATENCY
from dpod_search.goals import Goal
from dpod_search.goals import SizeBound
from dpod_search.pipeline.shrinking.ladder import Step
from dpod_search.pipeline.shrinking.ladder import Tried
from dpod_search.pipeline.shrinking.ladder import find_bounds
from dpod_search.pipeline.shrinking.ladder import find_share
from dpod_search.pipeline.shrinking.ladder import spell_budget
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.oneshot import OneShot
from dpod_search.records.shrink import TriedBudget


_ROUNDING = 1e-9
# Two readings of a clock differ by this much: a subnet that one of them finds within its budget
# may be so far beyond it by the other.
_CLOCK = 0.03


def judge_budgets(
    goal: Goal, steps: Sequence[Step], front: FinetunedFront, chosen: OneShot | None
) -> tuple[TriedBudget, ...]:
    """Say of each budget whether its member is within it, and keeps what the goal wants kept.

    Args:
        goal: The goal, its metrics by name.
        steps: The budgets that were asked for.
        front: What was finetuned for them.
        chosen: What was chosen at once, if it was.
    """
    return tuple(_judge(goal, step, front, chosen) for step in steps)


def _judge(goal: Goal, step: Step, front: FinetunedFront, chosen: OneShot | None) -> TriedBudget:
    bounds = find_bounds(goal, step, front.full.footprint)
    budget = spell_budget(bounds)
    member = next((m for m in front.members if budget in m.budgets), None)
    if member is None:
        return TriedBudget(
            budget=budget,
            kind=step.kind,
            place=step.place,
            folder=None,
            shares={},
            lost={},
            is_within=False,
            keeps=False,
        )
    readings = _read_clocks(budget, member, chosen)
    shares = find_shares(goal, member, front)
    within = all(_is_within(bound, shares, readings, front.full.footprint) for bound in bounds)
    lost = {
        aim.name: aim.lose(front.full.validation, member.validation)
        for aim in front.task.metrics
        if aim.name in member.validation
    }
    allowed = {b.metric: b.allow(front.full.validation[b.metric]) for b in goal.losses}
    keeps = all(lost[name] <= most + _ROUNDING for name, most in allowed.items())
    return TriedBudget(
        budget=budget,
        kind=step.kind,
        place=step.place,
        folder=member.folder,
        shares={name: round(share, 6) for name, share in shares.items()},
        lost=lost,
        is_within=within,
        keeps=within and keeps,
    )


def find_shares(goal: Goal, member: Member, front: FinetunedFront) -> dict[str, float]:
    """Return what a member has of the full net's, by the footprints that a goal speaks of."""
    names = dict.fromkeys([*(b.name for b in goal.bounds), goal.shrinks or "macs"])
    full = front.full.footprint
    found = {n: member.footprint[n] / full[n] if full[n] else 1.0 for n in names if n in full}
    if LATENCY in found and member.measured_latency_share is not None:
        found[LATENCY] = member.measured_latency_share
    return found


def _read_clocks(budget: str, member: Member, chosen: OneShot | None) -> list[float]:
    """Return what a clock said of a member's latency: when it was chosen, and in the end."""
    choices = chosen.choices if chosen is not None else ()
    first = [c.measured_share for c in choices if c.budget == budget]
    return [share for share in (*first, member.measured_latency_share) if share is not None]


def _is_within(
    bound: SizeBound,
    shares: Mapping[str, float],
    readings: Sequence[float],
    full: Mapping[str, float],
) -> bool:
    limit = find_share(bound, full)
    if bound.name == LATENCY and readings:
        is_near = max(readings) <= limit * (1 + _CLOCK)
        # Its budget was filled by the first reading, and the second one alone decides nothing.
        return min(readings) <= limit and is_near
    return shares[bound.name] <= limit * (1 + _ROUNDING)


def to_tried(goal: Goal, item: TriedBudget) -> Tried:
    """Return what the ladder has to know of a budget."""
    share = None
    if item.is_within:
        share = item.shares[goal.shrinks] if goal.shrinks else 1.0
    return Tried(Step(item.kind, item.place), item.keeps, share)
