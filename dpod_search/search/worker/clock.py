"""The seconds that a study has been searched for, whoever did it."""

from __future__ import annotations

import time

import optuna

from dpod_search.search.store import attributes


TICK_SECONDS = 2.0


class SearchClock:
    """Adds up the time in which at least one worker was at a study; used under its lock.

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
