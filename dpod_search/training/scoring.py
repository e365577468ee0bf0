"""What the scoring of subnets costs while a policy lets its path grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dpod_search.training.policies import Scorer
from dpod_search.widths import Widths


@dataclass
class CountedScorer:
    """A judge of subnets that counts what it spends.

    Args:
        score: Quality of a subnet in [0, 1], larger is better.
        cost: Macs of a subnet.
        n_images: Pictures that a score runs the subnet on.
        macs: Multiply-adds spent so far.
    """

    score: Scorer
    cost: Callable[[Widths], float]
    n_images: int
    macs: float = 0.0

    def __call__(self, widths: Widths) -> float:
        """Return the quality of a subnet."""
        self.macs += self.n_images * self.cost(widths)
        return self.score(widths)
