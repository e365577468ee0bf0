"""When the surrogate learns, and from what: its cost for each trial stays bounded.

What it has learned is a function of the first n evaluated trials alone, n being one of a fixed
series. A resumed process, or another worker, learns the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_front
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.plan.surrogate.surrogate import Surrogate
from dpod_search.search.plan.surrogate.surrogate import Tuning
from dpod_search.search.settings import SearchSettings
from dpod_search.search.task import SearchTask


MAX_POINTS = 256
# A fit serves a share of the trials it was made from, and past some hundreds so many that its
# cost is small for each of them; a choice of model serves more, and the last one all that follow.
REFIT_SHARE = 1 / 32
MANY_TRIALS = 400
MAX_REFIT_EVERY = 200
TUNE_GROWTH = 1.4


class SurrogateFitter:
    """Keeps one surrogate of a study fitted, for whoever asks.

    Args:
        task: The task.
        settings: When to begin, and how often to learn.
    """

    def __init__(self, task: SearchTask, settings: SearchSettings) -> None:
        self._task = task
        self._settings = settings
        self._history: History | None = None
        self._fitted: tuple[int, Surrogate] | None = None
        self._tuned: tuple[int, Tuning] | None = None

    def find_refit(self, n_measured: int) -> int | None:
        """Return how many evaluated trials are learned from, or None if there are too few."""
        found = None
        for n in list_refits(self._settings):
            if n > n_measured:
                return found
            found = n
        return found

    def find_next(self, n_measured: int) -> int:
        """Return at how many evaluated trials it is learned from more than now."""
        return next(n for n in list_refits(self._settings) if n > n_measured)

    def find_surrogate(self, history: History) -> Surrogate | None:
        """Return the surrogate for a history, or None as long as too little is known."""
        n = self.find_refit(len(history.measured)) if self._task.measured else None
        if n is None:
            return None
        if history is not self._history:
            # A sampler may be given to one study after another.
            self._history, self._fitted, self._tuned = history, None, None
        if self._fitted is None or self._fitted[0] != n:
            self._fitted = (n, self._fit(history, n, self._tune(history, n)))
        return self._fitted[1]

    def _tune(self, history: History, n: int) -> Tuning:
        tuned = self._settings.min_evaluated
        for refit in list_refits(self._settings):
            if refit > min(n, MANY_TRIALS):
                break
            if refit >= tuned * TUNE_GROWTH:
                tuned = refit
        if self._tuned is None or self._tuned[0] != tuned:
            self._tuned = (tuned, self._fit(history, tuned, None).tuning)
        return self._tuned[1]

    def _fit(self, history: History, n: int, tuning: Tuning | None) -> Surrogate:
        trials = history.measured[:n]
        chosen = choose_points(trials, history.minimize_all(trials))
        confidence = self._settings.confidence
        return Surrogate(self._task, chosen, confidence=confidence, tuning=tuning, past=trials)


def list_refits(settings: SearchSettings) -> Iterator[int]:
    """Yield, without end, the numbers of evaluated trials at which a surrogate is fitted."""
    n = settings.min_evaluated
    while True:
        yield n
        step = int(n * REFIT_SHARE) + max(0, n - MANY_TRIALS) // 4
        n += max(settings.refit_every, min(step, MAX_REFIT_EVERY))


def choose_points(
    trials: Sequence[FinishedTrial], minimized: FloatArray, max_points: int = MAX_POINTS
) -> list[FinishedTrial]:
    """Choose what to learn from when there is too much: the front, and the most recent.

    Args:
        trials: Evaluated trials in the order they finished.
        minimized: Their objective values, minimised; shape (n, m).
        max_points: Largest number to keep; fitting costs its cube.

    Returns:
        At most ``max_points`` of the trials, in the same order. The choice depends on the
        trials alone.
    """
    if len(trials) <= max_points:
        return list(trials)
    front = find_front(minimized)
    # Front first, recent before old: a stable sort by (not on the front), from the end.
    order = sorted(range(len(trials)), key=lambda i: (not front[i], -i))[:max_points]
    return [trials[i] for i in sorted(order)]
