"""What to pick: the member chosen for each budget, the knees, and the best within fixed shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member


PICK_BUDGETS = (0.05, 0.10, 0.25, 0.50, 1.0)
# The example in the summary is the smallest member that gives up at most this much.
_TOLERATED_LOSS = 0.01


@dataclass(frozen=True)
class Pick:
    """The answer for one budget.

    Args:
        budget: Largest share of the full net's macs, in (0, 1].
        member: The best member within it, or None if none is small enough.
    """

    budget: float
    member: Member | None


@dataclass(frozen=True)
class Chosen:
    """A member that was chosen, and what for.

    Args:
        reason: A budget as the user spelled it.
        member: The member chosen for it, or None if no member keeps it.
    """

    reason: str
    member: Member | None


def list_chosen(front: FinetunedFront) -> tuple[Chosen, ...]:
    """List what was chosen for each of the user's budgets.

    Args:
        front: The front after finetuning.

    Returns:
        One entry a budget, in the user's order. Of several members that were finetuned for
        one budget, the most accurate on validation is named.
    """
    return tuple(
        Chosen(
            budget,
            pick_best(m for m in front.members if budget in m.budgets),
        )
        for budget in front.budgets
    )


def pick_members(front: FinetunedFront) -> tuple[Pick, ...]:
    """Pick the member with the highest validation accuracy within each budget.

    Args:
        front: The front after finetuning.

    Returns:
        One pick per entry of :data:`PICK_BUDGETS`. Of equally accurate members the smallest
        is picked. Test accuracy plays no part, so that it stays an honest estimate.
    """
    return tuple(Pick(budget, _pick(front, budget)) for budget in PICK_BUDGETS)


def pick_example(front: FinetunedFront) -> Member | None:
    """Pick the smallest member within one point of the full net on validation.

    Args:
        front: The front after finetuning.

    Returns:
        That member, never the full net itself; the most accurate one if none comes so close;
        None if there are none.
    """
    members = [member for member in front.members if not member.is_full]
    floor = front.full.validation_accuracy - _TOLERATED_LOSS - 1e-9
    close = [member for member in members if member.validation_accuracy >= floor]
    if close:
        return min(close, key=lambda member: member.macs)
    return pick_best(members)


def pick_best(members: Iterable[Member]) -> Member | None:
    """Pick the member with the highest validation accuracy, of equals the smallest, if any."""
    return max(members, key=lambda m: (m.validation_accuracy, -m.macs), default=None)


def _pick(front: FinetunedFront, budget: float) -> Member | None:
    # The slack keeps a share of 0.1 that was computed as 0.10000000000000002.
    return pick_best(member for member in front.members if member.macs_share <= budget + 1e-9)
