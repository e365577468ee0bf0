"""What to pick: the member chosen for each budget, the knees, and the best within fixed shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dpod_search.quantities import is_share
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.metrics import Aim


PICK_BUDGETS = (0.05, 0.10, 0.25, 0.50, 1.0)
# The example in the summary is the smallest member that gives up at most this much; of a metric
# that is no share, this much of the full net's.
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
        one budget, the best on validation is named.
    """
    return tuple(
        Chosen(
            budget,
            pick_best((m for m in front.members if budget in m.budgets), front.task.first),
        )
        for budget in front.budgets
    )


def pick_members(front: FinetunedFront) -> tuple[Pick, ...]:
    """Pick the best member on validation within each budget.

    Args:
        front: The front after finetuning.

    Returns:
        One pick per entry of :data:`PICK_BUDGETS`. Of equally good members the smallest is
        picked. What was measured on test plays no part, so that it stays an honest estimate.
    """
    return tuple(Pick(budget, _pick(front, budget)) for budget in PICK_BUDGETS)


def pick_example(front: FinetunedFront) -> Member | None:
    """Pick the smallest member that is hardly worse than the full net on validation.

    Args:
        front: The front after finetuning.

    Returns:
        That member, never the full net itself; the best one if none comes so close; None if
        there are none.
    """
    members = [member for member in front.members if not member.is_full]
    aim, full = front.task.first, front.full.validation
    scale = 1.0 if is_share(aim.name) else abs(full[aim.name])
    most = _TOLERATED_LOSS * scale + 1e-9
    close = [member for member in members if aim.lose(full, member.validation) <= most]
    if close:
        return min(close, key=lambda member: member.macs)
    return pick_best(members, aim)


def pick_best(members: Iterable[Member], aim: Aim) -> Member | None:
    """Pick the member with the best metric on validation, of equals the smallest, if any."""
    return max(members, key=lambda m: (aim.gain(m.validation), -m.macs), default=None)


def _pick(front: FinetunedFront, budget: float) -> Member | None:
    # The slack keeps a share of 0.1 that was computed as 0.10000000000000002.
    within = (member for member in front.members if member.macs_share <= budget + 1e-9)
    return pick_best(within, front.task.first)
