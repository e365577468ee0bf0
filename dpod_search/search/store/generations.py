"""Generations, counted as Optuna counts them: by their completed trials alone."""

from __future__ import annotations

from collections import Counter


class Generations:
    """How many trials of each generation have completed."""

    def __init__(self) -> None:
        self._completed: Counter[int] = Counter()

    def note_completed(self, generation: int) -> None:
        """Count a trial that has completed."""
        self._completed[generation] += 1

    def find_current(self, population_size: int) -> int:
        """Return the generation that a new trial belongs to."""
        last = max(self._completed, default=0)
        return last if self._completed[last] < population_size else last + 1
