"""A class for every token of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dpod_search.tasks.classes import ClassTally
from dpod_search.tasks.classes import ClassTask
from dpod_search.tasks.task import Metric


@dataclass(frozen=True)
class SequenceLabels(ClassTask):
    """Logits (N, length, classes), integer targets (N, length); cross-entropy of the tokens.

    Args:
        ignored: Target of tokens that neither loss nor metrics look at, such as padding.
    """

    name: ClassVar[str] = "sequence-labels"
    shape: ClassVar[str] = "(N, length, classes)"
    axis: ClassVar[int] = 2
    n_axes: ClassVar[int] = 3
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy", "maximize", high=1.0),)

    def make_tally(self) -> ClassTally:
        """Return a tally of right answers."""
        return ClassTally(self)
