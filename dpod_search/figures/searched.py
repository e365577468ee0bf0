"""What a search has found, of a run folder or in memory: all that its figures need."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass

from dpod_search.figures.text import find_purpose
from dpod_search.records.run import Run
from dpod_search.records.search import Objective
from dpod_search.records.trials import Trial


@dataclass(frozen=True)
class Searched:
    """A search and its trials.

    Args:
        objectives: What was searched by, at least one.
        footprints: Names of the footprints that are known, in their order.
        full: What is known of the full net, by name.
        trials: The finished trials, ascending in number.
        front: Numbers of those on the front.
        metrics: Names of the metrics of the task.
        is_oneshot: Whether the widths were chosen without a search.
    """

    objectives: tuple[Objective, ...]
    footprints: tuple[str, ...]
    full: Mapping[str, float]
    trials: tuple[Trial, ...]
    front: tuple[int, ...]
    metrics: Collection[str]
    is_oneshot: bool = False

    @classmethod
    def of_run(cls, run: Run) -> Searched:
        """Take it from a run folder."""
        search = run.search
        return cls(
            search.objectives,
            search.footprints,
            search.of_full,
            run.trials,
            search.front,
            tuple(metric.name for metric in find_purpose(run).metrics),
            run.oneshot is not None,
        )
