"""What the policies that draw their subnets by chance share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


class Memoryless:
    """The half of a policy that keeps nothing: its plans are functions of the step alone.

    Such a policy has no path. The search then starts from its ladder of uniform subnets.
    """

    def begin_step(self, step: int) -> None:
        """Change nothing."""

    def path(self) -> tuple[Widths, ...]:
        """Return no profile."""
        return ()

    def state(self) -> Any:
        """Return nothing, since nothing is kept."""
        return None

    def restore(self, state: Any) -> None:
        """Restore nothing."""


def plan_subnets(
    context: PolicyContext, drawn: Iterable[Widths], *, needs_full: bool, rate: float = 1.0
) -> Plan:
    """Plan a step that trains drawn subnets.

    Args:
        context: Says whether the partial nets learn from the full net.
        drawn: Subnets of the space. One that is drawn twice runs once; the full net among them
            runs as such, on the labels.
        needs_full: Run the full net even where nobody learns from it.
        rate: Share of the step's learning rate that the partial nets have, in (0, 1].
    """
    space = context.space
    subnets = tuple(dict.fromkeys(space.canonical(widths) for widths in drawn))
    partial = tuple(widths for widths in subnets if widths != space.full)
    full = needs_full or context.distills or len(partial) < len(subnets)
    return Plan(full, partial, rates=() if rate == 1 else (rate,) * len(partial))


def list_ratios(space: WidthSpace) -> tuple[float, ...]:
    """Return the ladder of width ratios that a space was made of, ascending to 1.

    It is read off the group with the most rungs, and among these the widest one, whose rounding
    is the finest; (1.0,) where every group is a block.
    """
    ladders = [rungs for rungs in space.rungs if rungs[0] > 0]
    longest = max(ladders, key=lambda rungs: (len(rungs), rungs[-1]), default=(1,))
    return tuple(width / longest[-1] for width in longest)
