"""What a training policy is: which subnets each step trains, and how it learns from results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


# Gives the quality of a subnet on all pictures, or on the number of them that is given second.
Scorer = Callable[..., float]


@dataclass(frozen=True)
class Plan:
    """What one step trains.

    Args:
        full: Run the full net on the labels.
        partial: Subnets to run after it, distilled from it if it ran, else on the labels.
        rates: Learning rate of each partial net as a share of the step's, > 0; empty where all
            have the whole. A share multiplies the gradients.
    """

    full: bool
    partial: tuple[Widths, ...]
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that each partial net has its rate."""
        if self.rates and len(self.rates) != len(self.partial):
            raise ValueError(f"{len(self.partial)} partial nets, but {len(self.rates)} rates")


@dataclass(frozen=True)
class PolicyContext:
    """What a policy may know.

    Args:
        space: The widths of the supernet.
        cost: Macs of a subnet, in closed form.
        score: Calibrated quality of a subnet in [0, 1] on pictures kept apart, larger is better;
            ``score(widths, n_images)`` looks at only so many of them.
        n_steps: Steps of the whole training.
        seed: Seed of the study.
        distills: Partial nets learn from the full net of the same step. Without it a policy need
            not run the full net for their sake.
        n_scored: Pictures that a score runs a subnet on, those that calibrate it included.
        scoring_macs: Multiply-adds that all scores of the training together may take; a score
            takes ``cost`` of its subnet for each picture.
        progress: Who is told of what is scored: a task of its own inside the training's.
    """

    space: WidthSpace
    cost: Callable[[Widths], float]
    score: Scorer
    n_steps: int
    seed: int
    distills: bool = True
    n_scored: int = 0
    scoring_macs: float = math.inf
    progress: Progress = field(default_factory=SilentProgress)


class Policy(Protocol):
    """Chooses the subnets that training looks at."""

    def begin_step(self, step: int) -> None:
        """Change what is trained, for instance let the path grow. Must not depend on time."""

    def plan(self, step: int) -> Plan:
        """Return what a step trains: a pure function of the step and :meth:`state`."""

    def path(self) -> tuple[Widths, ...]:
        """Return the profiles worth searching from, from the full net to the floor."""

    def state(self) -> Any:
        """Return what must be kept to go on from here, as a JSON value."""

    def restore(self, state: Any) -> None:
        """Go on from what :meth:`state` returned."""
