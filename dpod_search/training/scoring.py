"""What the scoring of subnets costs while a policy lets its path grow, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dpod_search.training.policies import Scorer
from dpod_search.widths import Widths


# Multiply-adds of a training step for each of its forward pass: the backward pass has two.
STEP_MACS = 3


@dataclass
class CountedScorer:
    """A judge of subnets that counts what it spends.

    Args:
        score: Quality of a subnet in [0, 1], larger is better.
        cost: Macs of a subnet.
        n_images: Pictures that a score runs the subnet on, if no other number is asked for.
        macs: Multiply-adds spent so far.
    """

    score: Scorer
    cost: Callable[[Widths], float]
    n_images: int
    macs: float = 0.0

    def __call__(self, widths: Widths, *n_images: int) -> float:
        """Return the quality of a subnet.

        Args:
            widths: Of the subnet.
            *n_images: Nothing, or the number of pictures to look at.
        """
        (n_counted,) = n_images or (self.n_images,)
        self.macs += n_counted * self.cost(widths)
        return self.score(widths, *n_images)


def limit_scoring(share: float, n_images: int, full_macs: float) -> float:
    """Return the multiply-adds that all scores of a training may take together.

    Args:
        share: Of what training the full net alone would take, forward and backward.
        n_images: Pictures of all steps of the training.
        full_macs: Macs of the full net.
    """
    return share * STEP_MACS * n_images * full_macs
