"""What a chooser is given: a space, a budget, and scores of units."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dpod_search.errors import InfeasibleError
from dpod_search.pareto import FloatArray
from dpod_search.quantities import number
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


@dataclass(frozen=True)
class OneShotRequest:
    """A budget to choose widths for.

    Args:
        space: The widths there are.
        is_met: Whether a subnet is within the budget.
        measure: How much of the budget a subnet uses: 1 is all of it, and what is met uses no more.
            With several bounds it is that of the tightest. It never falls as a width grows.
        scores: For each group a score >= 0 of each unit, shape (full width,); None for blocks.
            Methods that need none leave them out.
        per_cost: ``taylor`` weighs a unit's score against its share of the budget.
        seed: Of ``random``.
    """

    space: WidthSpace
    is_met: Callable[[Widths], bool]
    measure: Callable[[Widths], float]
    scores: Sequence[FloatArray | None] = ()
    per_cost: bool = False
    seed: int = 0


class Chooser(Protocol):
    """Chooses widths within a budget."""

    def __call__(self, request: OneShotRequest, /) -> Widths:
        """Return widths that meet the budget.

        Raises:
            InfeasibleError: If none of those that it can reach do, naming the smallest.
        """


def require(request: OneShotRequest, smallest: Widths, what: str) -> None:
    """Raise unless the smallest that can be reached is within the budget.

    Raises:
        InfeasibleError: Saying how much of the budget it uses.
    """
    if not request.is_met(smallest):
        raise InfeasibleError(
            f"{what} ({smallest}) uses {number(100 * request.measure(smallest))} % of the budget; "
            "raise the budget or allow narrower widths"
        )
