"""A class for every token of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

from dpod_search.tasks.classes import ClassTally
from dpod_search.tasks.classes import ClassTask
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.task import Metric


@dataclass(frozen=True)
class SequenceLabels(ClassTask):
    """Logits (N, length, classes), integer targets (N, length); cross-entropy of the tokens.

    Args:
        ignored: Target of tokens that neither loss nor metrics look at, such as padding.
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.
    """

    name: ClassVar[str] = "sequence-labels"
    shape: ClassVar[str] = "(N, length, classes)"
    axis: ClassVar[int] = 2
    n_axes: ClassVar[int] = 3
    metrics: TakenMetrics = field(
        default=TakenMetrics(Metric("accuracy", "maximize", high=1.0)), kw_only=True, repr=False
    )

    def make_tally(self) -> ClassTally:
        """Return a tally of right answers."""
        return ClassTally(self)
