"""Which budget a goal asks for next: a pure function of what was tried.

Bounds on footprints alone are tried as they are. Where too much is lost there, more is spent on
finetuning; and where that is not enough, the budget is widened to find what keeps the loss. What is
to be as small as can be descends steps until too much is lost, and is then bisected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpod_search.goals import Goal
from dpod_search.goals import SizeBound


SHARES = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08)  # of the full net's
N_BISECTIONS = 2
N_DOUBLINGS = 2  # of the epochs of the finetuning
_NEAR = 0.96  # of a share: nothing is asked for between it and this

# The goal's own bounds; wider than they are; narrower than they are.
Kind = Literal["goal", "wider", "smaller"]


@dataclass(frozen=True)
class Step:
    """A budget on the ladder.

    Args:
        kind: ``goal`` for the bounds of the goal, ``wider`` and ``smaller`` for those around them.
        place: Of ``wider`` how far from the goal (0) to the full net (1); of ``smaller`` the share
            of the full net's footprint that is allowed.
    """

    kind: Kind
    place: float = 0.0


@dataclass(frozen=True)
class Tried:
    """What came of a budget.

    Args:
        step: The budget.
        keeps: A subnet within it was found, and loses no more than the goal allows.
        share: What that subnet has of the full net's, of the footprint that is to be small; None
            where no subnet is within the budget.
    """

    step: Step
    keeps: bool
    share: float | None


@dataclass(frozen=True)
class Ask:
    """A budget to try next.

    Args:
        step: The budget.
        n_doublings: How often the epochs of the finetuning are doubled for it. Where that is more
            than before, what was tried before counts no more.
    """

    step: Step
    n_doublings: int


@dataclass(frozen=True)
class End:
    """There is nothing left to try.

    Args:
        is_met: Whether the goal is met.
        answer: The budget whose subnet meets it; else the smallest that keeps the loss, None for
            the full net alone.
    """

    is_met: bool
    answer: Step | None


GOAL = Step("goal")


def plan_next(goal: Goal, tried: Sequence[Tried], n_doublings: int = 0) -> Ask | End:
    """Say what to try next.

    Args:
        goal: The goal; not one that asks for the front.
        tried: What was tried with so many doublings, each budget once.
        n_doublings: How often the epochs have been doubled.
    """
    by_step = {item.step: item for item in tried}
    if goal.bounds:
        at_goal = by_step.get(GOAL)
        if at_goal is None:
            return Ask(GOAL, n_doublings)
        if not at_goal.keeps:
            may_help = at_goal.share is not None and bool(goal.losses)
            return _insist(tried, n_doublings) if may_help else End(False, None)
        if not goal.shrinks:
            return End(True, GOAL)
    return _descend(tried, n_doublings)


def _insist(tried: Sequence[Tried], n_doublings: int) -> Ask | End:
    """Spend more on the goal's own budget, then look for what keeps the loss above it."""
    if n_doublings < N_DOUBLINGS:
        return Ask(GOAL, n_doublings + 1)
    wider = [item for item in tried if item.step.kind == "wider"]
    kept = [item.step.place for item in wider if item.keeps]
    high = min(kept, default=1.0)
    low = max((t.step.place for t in wider if not t.keeps and t.step.place < high), default=0.0)
    if len(wider) < N_BISECTIONS:
        return Ask(Step("wider", (low + high) / 2), n_doublings)
    return End(False, Step("wider", high) if kept else None)


def _descend(tried: Sequence[Tried], n_doublings: int) -> Ask | End:
    """Descend until too much is lost, then look between the last that keeps and the first that loses."""
    kept = [(item.share, item.step) for item in tried if item.keeps and item.share is not None]
    best, answer = min(kept, key=lambda pair: pair[0], default=(1.0, None))
    places = {item.step.place for item in tried if item.step.kind == "smaller"}
    lost = [
        item.step.place for item in tried if not item.keeps and 0 < item.step.place < best
    ]  # fmt: skip  (one thought)
    end = End(answer is not None, answer)
    if not lost:
        rest = [share for share in SHARES if share < _NEAR * best and share not in places]
        return Ask(Step("smaller", rest[0]), n_doublings) if rest else end
    between = round(math.sqrt(max(lost) * best), 3)
    is_open = max(lost) < _NEAR * between and between < _NEAR * best and between not in places
    if is_open and len(places - {*SHARES}) < N_BISECTIONS:
        return Ask(Step("smaller", between), n_doublings)
    return end


def find_bounds(goal: Goal, step: Step, full: Mapping[str, float]) -> tuple[SizeBound, ...]:
    """Return the bounds that a step stands for.

    Args:
        goal: The goal.
        step: The step.
        full: The full net's footprints; bounds that are no shares are widened with them.
    """
    if step.kind == "goal":
        return goal.bounds
    if step.kind == "smaller":
        others = tuple(bound for bound in goal.bounds if bound.name != goal.shrinks)
        return (SizeBound(goal.shrinks, step.place, is_share=True), *others)
    return tuple(
        SizeBound(bound.name, _widen(find_share(bound, full), step.place), is_share=True)
        for bound in goal.bounds
    )


def spell_budget(bounds: Sequence[SizeBound]) -> str:
    """Return bounds as a budget of a study."""
    return " and ".join(bound.text for bound in bounds)


def find_share(bound: SizeBound, full: Mapping[str, float]) -> float:
    """Return a bound as a share of what the full net has; of a full net of nothing, all of it."""
    if bound.is_share:
        return bound.limit
    return bound.limit / full[bound.name] if full[bound.name] else 1.0


def _widen(share: float, place: float) -> float:
    return round(math.pow(min(1.0, share), 1 - place), 4)


def count_most(goal: Goal) -> int:
    """Return how many budgets are tried at most, each doubling of the epochs as one more."""
    if not goal.losses:
        return 1
    n_at_goal = 1 + N_DOUBLINGS if goal.bounds else 0
    return n_at_goal + N_BISECTIONS + (len(SHARES) if goal.shrinks else 0)
