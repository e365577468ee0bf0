"""The settings of a search, every default visible here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Literal
from typing import get_args

from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show


SamplerName = Literal["nsga2", "nsga2-plain", "tpe", "gp", "random"]

_MAX_TRIALS = 10_000_000


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Args:
        n_trials: Finished trials of the study in all, seeds included, 1 to 10,000,000. Of this
            limit and the next three the first that is reached ends the search; raising it
            continues the study.
        n_evaluated: Evaluated subnets in all, seeds included, 1 to 10,000,000; without it only
            trials count.
        seconds: Wall seconds of searching, summed over the processes that resumed the study, 0.001
            to 1,000,000,000.
        stall: End when this many evaluated subnets in a row, 1 to 10,000,000, have raised the
            front's hypervolume by less than a thousandth.
        finetune_share: A run that finetunes ends its search when about this share of the
            multiply-adds of all finetunings is spent, 0 to 1,000. Where that is less than a
            generation there is no search, if the budgets are filled without one.
        population_size: Completed trials of one generation of NSGA-II, 2 to 100,000.
        objectives: ``accuracy`` or another metric of the task, ``latency_ms``, a footprint by its name (``macs``, ``params``,
            ...), or your own ``package.module:name``; one to four.
        constraints: Bounds on footprints and objectives, for instance ``{ macs = "<= 40%", params =
            "<= 5M", accuracy = ">= 0.9" }``; percentages are of the full net's value.
        sampler: Which sampler proposes widths: ``nsga2``, ``nsga2-plain`` (Optuna's own), ``tpe``,
            ``gp`` or ``random``.
        surrogate: Whether a surrogate may prune unpromising trials.
        min_evaluated: Evaluated subnets before the surrogate may prune, 10 to 10,000,000.
        audit_share: Share, in [0, 1], of would-be-pruned trials that are evaluated all the
            same, so that the rate of false prunes is known.
        refit_every: The surrogate is fitted again after this many evaluated subnets, 1 to
            10,000,000.
        n_ladder: Uniform subnets that seed the first generation, at most 10,000; 0 for none.
        n_mdp: Subnets that the width program proposes, for a ladder of budgets, at most 10,000; 0
            for none.
        confidence: Coverage of the surrogate's intervals, 0.5 to 0.999.

    Raises:
        ConfigError: If a setting is outside its range.
    """

    n_trials: int = 240
    n_evaluated: int | None = None
    seconds: float | None = None
    stall: int | None = None
    finetune_share: float | None = None
    population_size: int = 24
    objectives: tuple[str, ...] = ("accuracy", "macs")
    constraints: Mapping[str, str] = field(default_factory=dict)
    sampler: SamplerName = "nsga2"
    surrogate: bool = True
    min_evaluated: int = 16
    audit_share: float = 0.05
    refit_every: int = 2
    n_ladder: int = 8
    n_mdp: int = 0
    confidence: float = 0.9

    def __post_init__(self) -> None:
        """Check every range once."""
        check_count("search.n_trials", self.n_trials, low=1, high=_MAX_TRIALS)
        if self.n_evaluated is not None:
            check_count("search.n_evaluated", self.n_evaluated, low=1, high=_MAX_TRIALS)
        if self.seconds is not None:
            check_range("search.seconds", self.seconds, low=0.001, high=MAX_SECONDS)
        if self.stall is not None:
            check_count("search.stall", self.stall, low=1, high=_MAX_TRIALS)
        if self.finetune_share is not None:
            check_range("search.finetune_share", self.finetune_share, low=0, high=1_000)
        check_count("search.population_size", self.population_size, low=2, high=100_000)
        check_list("search.objectives", self.objectives, low=1, high=4)
        # Fewer than ten points leave cross-validation nothing to learn from.
        check_count("search.min_evaluated", self.min_evaluated, low=10, high=_MAX_TRIALS)
        check_range("search.audit_share", self.audit_share, low=0, high=1)
        check_count("search.refit_every", self.refit_every, low=1, high=_MAX_TRIALS)
        check_count("search.n_ladder", self.n_ladder, low=0, high=10_000)
        check_count("search.n_mdp", self.n_mdp, low=0, high=10_000)
        check_range("search.confidence", self.confidence, low=0.5, high=0.999)
        if self.sampler not in get_args(SamplerName):
            names = ", ".join(get_args(SamplerName))
            raise ConfigError(f"search.sampler must be one of {names}, got {show(self.sampler)}")

    def for_given(self, n_trials: int) -> SearchSettings:
        """Return the settings of a study whose trials, or the rest of them, are all given.

        Args:
            n_trials: Trials in all; nothing else ends the study, and none of them is screened.
        """
        return replace(
            self, n_trials=n_trials, n_evaluated=None, seconds=None, stall=None, surrogate=False
        )
