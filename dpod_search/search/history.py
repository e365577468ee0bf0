"""What has been learned so far, kept up to date one finished trial at a time."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpod_search.pareto import Direction
from dpod_search.pareto import FloatArray
from dpod_search.pareto import is_dominated
from dpod_search.pareto import to_minimized
from dpod_search.search.attributes import MEASURED_FATES
from dpod_search.widths import Widths


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial, as far as later decisions depend on it.

    Args:
        number: The trial's number.
        widths: Its widths.
        fate: What became of it.
        footprint: Its footprints by name.
        values: Its objective values in order, or None unless it completed.
    """

    number: int
    widths: Widths
    fate: str
    footprint: Mapping[str, float]
    values: tuple[float, ...] | None


class History:
    """The finished trials of a study and the front among them.

    Args:
        directions: Direction of every objective.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._directions = tuple(directions)
        self._front: FloatArray = np.empty((0, len(directions)))
        self._by_widths: dict[Widths, FinishedTrial] = {}
        self._measured: list[FinishedTrial] = []
        self.n_finished = 0

    def add(self, trial: FinishedTrial) -> None:
        """Take in a trial that has just finished."""
        self.n_finished += 1
        if trial.values is None:
            return
        self._by_widths.setdefault(trial.widths, trial)
        point = self.minimize(trial.values)
        if not is_dominated(point, self._front):
            stays = [not is_dominated(other, point[None]) for other in self._front]
            self._front = np.vstack([self._front[stays], point])
        if trial.fate in MEASURED_FATES:
            self._measured.append(trial)

    def minimize(self, values: Sequence[float]) -> FloatArray:
        """Turn objective values so that smaller is better everywhere; shape (m,)."""
        return to_minimized(values, self._directions)

    def minimize_all(self, trials: Sequence[FinishedTrial]) -> FloatArray:
        """Turn the values of completed trials likewise; shape (n, m)."""
        return np.array([self.minimize(trial.values) for trial in trials if trial.values])

    def is_beaten(self, values: Sequence[float]) -> bool:
        """Say whether the front dominates these objective values."""
        return is_dominated(self.minimize(values), self._front)

    def find(self, widths: Widths) -> FinishedTrial | None:
        """Return the first completed trial with these widths, if there is one."""
        return self._by_widths.get(widths)

    @property
    def front(self) -> FloatArray:
        """Values on the front, minimised; shape (n, m)."""
        return self._front

    @property
    def measured(self) -> Sequence[FinishedTrial]:
        """The trials whose subnets were evaluated, in the order they finished."""
        return self._measured
