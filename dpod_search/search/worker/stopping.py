"""How long a search may go on: trials, evaluated subnets, seconds, or until it no longer gains.

And what is asked for that: how long it has been going on, and how its front grows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from dpod_search.pareto import FloatArray
from dpod_search.pareto import GrowingFront
from dpod_search.quantities import number
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import attributes


MIN_RISE = 1e-3  # of the front's hypervolume, over the evaluated subnets of a stall
MARGIN = 0.1  # of the extent of each objective, so that its worst value counts for something
TICK_SECONDS = 2.0


@dataclass(frozen=True)
class StoppingRule:
    """The limits of a search; the first that is reached ends it.

    It looks at numbers alone, so that a study that has ended goes on once a limit is raised.

    Args:
        n_trials: Finished trials in all.
        n_evaluated: Evaluated subnets in all, or None.
        seconds: Seconds of searching in all, or None.
        stall: Evaluated subnets in a row that may gain next to nothing, or None.
    """

    n_trials: int
    n_evaluated: int | None = None
    seconds: float | None = None
    stall: int | None = None

    @classmethod
    def of(cls, settings: SearchSettings) -> StoppingRule:
        """Return the limits that settings name."""
        return cls(settings.n_trials, settings.n_evaluated, settings.seconds, settings.stall)

    def find_end(
        self,
        *,
        n_finished: int,
        n_evaluated: int,
        seconds: float,
        hypervolumes: Sequence[float] = (),
    ) -> str | None:
        """Say why a search ends here.

        Args:
            n_finished: Finished trials of the study, of whatever fate.
            n_evaluated: Those whose subnet was evaluated, seeds and audited ones among them.
            seconds: Wall seconds of searching, summed over the processes that resumed the study.
            hypervolumes: The front's hypervolume after each evaluated subnet, all up to one
                reference point; needed only if ``stall`` is set.

        Returns:
            The reason in words, or None if the search may go on.
        """
        if n_finished >= self.n_trials:
            return f"{n_finished} trials are finished"
        if self.n_evaluated is not None and n_evaluated >= self.n_evaluated:
            return f"{n_evaluated} subnets are evaluated"
        if self.seconds is not None and seconds >= self.seconds:
            return f"{number(seconds)} seconds of searching are spent"
        if self.stall is not None and self._has_stalled(hypervolumes):
            return f"the last {self.stall} evaluated subnets raised the hypervolume by under 0.1 %"
        return None

    def _has_stalled(self, hypervolumes: Sequence[float]) -> bool:
        if self.stall is None or len(hypervolumes) <= self.stall:
            return False
        before = hypervolumes[-1 - self.stall]
        # As long as there is no front at all, there is nothing that could stall.
        return before > 0 and hypervolumes[-1] - before < MIN_RISE * before


class SearchClock:
    """The seconds that a study has been searched for, whoever did it; used under its lock.

    They are the time in which at least one worker was at it.

    Args:
        study: The study; its user attribute ``dpod:spent`` holds the seconds spent and when they
            were added up last.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._spent, _ = self._read()
        self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent in all."""
        return self._spent + time.monotonic() - self._last

    def tick(self, *, is_last: bool = False) -> None:
        """Write the time down, every few seconds.

        Args:
            is_last: Do it now.
        """
        own = time.monotonic() - self._last
        if own < TICK_SECONDS and not is_last:
            return
        spent, at = self._read()
        now = time.time()
        # What another worker has added meanwhile was this worker's time too.
        self._spent = spent + min(own, max(now - at, 0.0))
        self._last = time.monotonic()
        self._study.set_user_attr(attributes.SPENT, [self._spent, now])

    def _read(self) -> tuple[float, float]:
        spent, at = self._study.user_attrs.get(attributes.SPENT, (0.0, 0.0))
        return float(spent), float(at)


class VolumeTrace:
    """The front's hypervolume after each evaluated subnet.

    It is measured up to a little beyond the worst values that any evaluated subnet had so far.

    Args:
        is_logarithmic: For each objective, whether ratios of its values count and not
            differences, as for what a subnet costs.
    """

    def __init__(self, is_logarithmic: Sequence[bool]) -> None:
        self._is_logarithmic = np.array(is_logarithmic)
        self._points: list[FloatArray] = []
        self._best: FloatArray = np.full(len(is_logarithmic), np.inf)
        self._worst: FloatArray = np.full(len(is_logarithmic), -np.inf)
        self._reference: FloatArray = self._worst
        self._front = GrowingFront(self._reference)
        self._volumes: list[float] = []

    def extend(self, history: History) -> Sequence[float]:
        """Take in what has been measured since the last call; return all hypervolumes."""
        fresh = [self._place(trial, history) for trial in history.measured[len(self._points) :]]
        self._points += fresh
        finite = [point for point in fresh if np.all(np.isfinite(point))]
        self._best = np.min([self._best, *finite], axis=0)
        self._worst = np.max([self._worst, *finite], axis=0)
        extent = self._worst - self._best
        reference = self._worst + MARGIN * np.where(extent > 0, extent, 1.0)
        if not np.array_equal(reference, self._reference):
            # A value beyond all before moves the reference point, and all volumes with it.
            self._reference, self._volumes = reference, []
            self._front = GrowingFront(reference)
            fresh = self._points
        self._volumes += map(self._front.add, fresh)
        return self._volumes

    def _place(self, trial: FinishedTrial, history: History) -> FloatArray:
        assert trial.values is not None
        point = history.minimize(trial.values)
        if trial.violation > 0:
            return np.full_like(point, np.inf)  # it is not on the front, whatever it reaches
        is_log = self._is_logarithmic & (point > 0)
        return np.where(is_log, np.log(np.where(is_log, point, 1.0)), point)
