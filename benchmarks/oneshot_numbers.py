"""What the one-shot benchmark found, averaged over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from statistics import stdev
from typing import Any


# By how the net was trained, and how it was narrowed.
NAMES = {
    ("dpod", "search"): "DPOD front",
    ("dense", "mdp"): "MDP",
    ("dense", "taylor-per-cost"): "Taylor per cost",
    ("dense", "taylor"): "Taylor",
    ("dense", "magnitude"): "magnitude",
    ("dense", "uniform"): "uniform",
    ("dense", "random"): "random",
    ("dpod", "mdp"): "supernet, MDP",
    ("dpod", "uniform"): "supernet, uniform",
}
SEARCHED = ("dpod", "search")
ONE_SHOT = tuple(key for key in NAMES if key[0] == "dense")

Key = tuple[str, str]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: The mean.
        error: Its standard error; None for one seed.
    """

    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Average over seeds."""
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        return cls(fmean(values), error)

    def __str__(self) -> str:
        """Return the mean, and the error in brackets."""
        return f"{self.mean:.2f}" + ("" if self.error is None else f" ({self.error:.2f})")


class Net:
    """The results of one net.

    Args:
        name: Of the net.
        cases: All cases of it; seeds of which one start is missing are left out.
    """

    def __init__(self, name: str, cases: Sequence[dict[str, Any]]) -> None:
        """Sort the cases by seed and start."""
        self.name = name
        self.by_key = {(case["seed"], case["start"]): case for case in cases}
        starts = {start for start, _ in NAMES}
        seeds = sorted({case["seed"] for case in cases})
        self.seeds = [s for s in seeds if all((s, start) in self.by_key for start in starts)]

    @property
    def halves(self) -> list[dict[str, Any]]:
        """The cases of seeds of which the other start is missing."""
        return [case for (seed, _), case in self.by_key.items() if seed not in self.seeds]

    def cases(self, start: str) -> list[dict[str, Any]]:
        """Return the cases of a start, by seed."""
        return [self.by_key[seed, start] for seed in self.seeds]

    def values(self, key: Key, budget: int, what: str = "test") -> list[float]:
        """Return the numbers of a method at the place of a budget, in percent, by seed."""
        start, method = key
        return [100 * case["methods"][method]["rows"][budget][what] for case in self.cases(start)]

    def means(self, key: Key) -> list[float]:
        """Return the means of a method over the budgets, in percent, by seed."""
        every = [self.values(key, place) for place in range(len(self.budgets))]
        return [fmean(of_seed) for of_seed in zip(*every, strict=True)]

    def volumes(self, key: Key) -> list[float]:
        """Return the hypervolumes of a method, by seed."""
        start, method = key
        return [case["methods"][method]["volume"] for case in self.cases(start)]

    @property
    def budgets(self) -> list[float]:
        """The budgets, as shares of the full net's macs."""
        rows = self.cases("dpod")[0]["methods"]["search"]["rows"]
        return [row["budget"] for row in rows]

    @property
    def epochs(self) -> list[int]:
        """The epochs of finetuning at each budget."""
        rows = self.cases("dpod")[0]["methods"]["search"]["rows"]
        return [row["epochs"] for row in rows]

    def compare(self, key: Key, others: Sequence[Key], budget: int) -> tuple[Key, Estimate]:
        """Compare a method with the one of others that is best in the mean of a budget.

        Returns:
            Which one is best, and the points that the method is ahead of it, paired by seed.
        """
        best = max(others, key=lambda other: fmean(self.values(other, budget)))
        pairs = zip(self.values(key, budget), self.values(best, budget), strict=True)
        return best, Estimate.of([mine - its for mine, its in pairs])
