"""What is done in place of a search, every default visible here."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.bounds import split_bounds
from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show


METHODS = ("mdp", "uniform", "magnitude", "taylor", "random")


@dataclass(frozen=True)
class OneShotSettings:
    """How widths are chosen without a supernet training and without a search.

    ``dpod-search mdp`` sets ``method`` and ``budgets``; the plain net is trained (or its weights
    are given), the units of each group are put in the order of their importance, and each method
    chooses widths at each budget once.

    Args:
        method: ``mdp`` (the width program, solved exactly), ``uniform``, ``magnitude``, ``taylor``
            or ``random``; empty for the search.
        budgets: One to 1,000, such as ``["latency<=50%", "macs<=25% and params<=50k"]``.
        n_batches: Batches of training pictures that importance is measured on, 1 to 1,000,000.
        seconds: Time for one width program, 0.01 to 1,000,000,000; when it is over the best subnet
            so far is taken, and the gap to the optimum told.
        n_corrections: With a budget on latency the chosen subnet is measured, and the budget of
            the program lowered and solved again so often at most, until the measured latency is
            within it, 0 to 1,000.
    """

    method: str = ""
    budgets: tuple[str, ...] = ()
    n_batches: int = 16
    seconds: float = 60.0
    n_corrections: int = 8

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.method and self.method not in METHODS:
            names = ", ".join(METHODS)
            raise ConfigError(f"oneshot.method must be one of {names}, got {show(self.method)}")
        check_list("oneshot.budgets", self.budgets, low=0, high=1_000)
        for budget in self.budgets:
            try:
                split_bounds(budget)
            except ConfigError as error:
                raise ConfigError(f"oneshot.budgets: {error}") from error
        check_count("oneshot.n_batches", self.n_batches, low=1, high=1_000_000)
        check_range("oneshot.seconds", self.seconds, low=0.01, high=MAX_SECONDS)
        check_count("oneshot.n_corrections", self.n_corrections, low=0, high=1_000)
        if self.method and not self.budgets:
            raise ConfigError("oneshot.budgets is empty; give a budget such as macs<=25%")
