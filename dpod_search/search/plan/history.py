"""What has been learned so far, kept up to date one finished trial at a time; what is audited."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from dpod_search.pareto import Direction
from dpod_search.pareto import FloatArray
from dpod_search.pareto import is_dominated
from dpod_search.pareto import to_minimized
from dpod_search.records.search import MEASURED
from dpod_search.rng import numpy_generator
from dpod_search.search.settings import SearchSettings
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
        predictions: For each objective that was predicted before: mean, low, high.
        violation: How far it is over its constraints, as a sum of shares; 0 if it meets all.
    """

    number: int
    widths: Widths
    fate: str
    footprint: Mapping[str, float]
    values: tuple[float, ...] | None
    predictions: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    violation: float = 0.0


class History:
    """The finished trials of a study, the front among them, and the trials in flight.

    Args:
        directions: Direction of every objective.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._directions = tuple(directions)
        self._front: FloatArray = np.empty((0, len(directions)))
        self._by_widths: dict[Widths, FinishedTrial] = {}
        self._finished: set[Widths] = set()
        self._in_flight: dict[int, Widths] = {}
        self._measured: list[FinishedTrial] = []
        self.n_finished = 0

    def start(self, number: int, widths: Widths) -> None:
        """Take note of a trial that is being evaluated, here or by another worker."""
        self._in_flight[number] = widths

    def add(self, trial: FinishedTrial) -> None:
        """Take in a trial that has just finished."""
        self.n_finished += 1
        self._in_flight.pop(trial.number, None)
        self._finished.add(trial.widths)
        if trial.values is None:
            return
        self._by_widths.setdefault(trial.widths, trial)
        if trial.fate in MEASURED:
            self._measured.append(trial)
        point = self.minimize(trial.values)
        if trial.violation <= 0 and not is_dominated(point, self._front):
            beaten = np.all(point <= self._front, axis=1) & np.any(point < self._front, axis=1)
            self._front = np.vstack([self._front[~beaten], point])

    def minimize(self, values: Sequence[float]) -> FloatArray:
        """Turn objective values so that smaller is better everywhere; shape (m,)."""
        return to_minimized(values, self._directions)

    def minimize_all(self, trials: Sequence[FinishedTrial]) -> FloatArray:
        """Turn the values of completed trials likewise; shape (n, m)."""
        values = [trial.values for trial in trials if trial.values]
        shape = (len(values), len(self._directions))
        return to_minimized(np.reshape(values, shape), self._directions)

    def is_beaten(self, values: Sequence[float]) -> bool:
        """Say whether the front dominates these objective values."""
        return is_dominated(self.minimize(values), self._front)

    def find(self, widths: Widths) -> FinishedTrial | None:
        """Return the first completed trial with these widths, if there is one."""
        return self._by_widths.get(widths)

    def is_tried(self, widths: Widths) -> bool:
        """Say whether a trial with these widths has finished, however, or is in flight."""
        return widths in self._finished or widths in self._in_flight.values()

    @property
    def in_flight(self) -> Mapping[int, Widths]:
        """The widths of the trials that are being evaluated, by number."""
        return self._in_flight

    @property
    def front(self) -> FloatArray:
        """Values on the front of the feasible trials, minimised; shape (n, m)."""
        return self._front

    @property
    def measured(self) -> Sequence[FinishedTrial]:
        """The trials whose subnets were evaluated, in the order they finished."""
        return self._measured


def is_audit(seed: int, number: int, settings: SearchSettings) -> bool:
    """Say whether a trial is audited: evaluated whatever the surrogate says of it.

    Audits are drawn by number alone, so that sampler and gate agree without talking to each
    other. An audited trial of our sampler is an unscreened child; what the surrogate would have
    done with it, and whether that would have been wrong, is thus known of a random sample of all
    children.
    """
    return bool(numpy_generator(seed, "audit", number).random() < settings.audit_share)
