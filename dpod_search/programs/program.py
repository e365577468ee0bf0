"""What the integer program asks, and what it answers.

References:
    Sun et al.: MDP: Multidimensional Vision Model Pruning with Latency Constraint, CVPR 2025,
    arXiv 2504.02168 (importance kept at a latency, widths and blocks as variables).
    Shen et al.: Structural Pruning via Latency-Saliency Knapsack (HALP), 2022, arXiv 2210.06659
    (the same as a knapsack, without blocks and with the input's width held).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.tabulated import IntArray
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


MAX_CELLS = 20_000  # each cell of a table becomes a variable of the program


@dataclass(frozen=True, eq=False)
class Limit:
    """The most that a cost may be.

    Args:
        name: What it is called in messages.
        sums: The largest of these is the cost: one sum, mostly; peak memory has one for each
            moment.
        limit: The largest value allowed.
    """

    name: str
    sums: tuple[TableSum, ...]
    limit: float

    def measure(self, rungs: IntArray) -> float:
        """Return the cost of one subnet by its rungs, shape (n_groups,)."""
        return max(float(each.at(rungs[None])[0]) for each in self.sums)


@dataclass(frozen=True, eq=False)
class WidthProgram:
    """Choose a rung for every group so that a value is as large as its limits allow.

    Args:
        n_rungs: Number of rungs of each group.
        value: What to maximise.
        limits: The costs that must not be exceeded.
        fixed: Groups that may take one rung only, by index. What a term calls a block has the
            rungs 0, removed, and 1.

    Raises:
        ConfigError: If a limit is negative or no number, a table holds what is no number, does
            not have the rungs of its groups, or is too large.
    """

    n_rungs: tuple[int, ...]
    value: TableSum
    limits: tuple[Limit, ...] = ()
    fixed: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check everything once; the solver trusts it."""
        self._check_terms("value", self.value.terms)
        for limit in self.limits:
            if not (math.isfinite(limit.limit) and limit.limit >= 0):
                raise ConfigError(f"limit of {limit.name} must be >= 0, got {limit.limit}")
            if not limit.sums:
                raise ConfigError(f"limit of {limit.name} has no sum to keep within it")
            for each in limit.sums:
                self._check_terms(limit.name, each.terms)
        for group, rung in self.fixed.items():
            if not (0 <= group < len(self.n_rungs) and 0 <= rung < self.n_rungs[group]):
                raise ConfigError(f"rung {rung} of group {group} is fixed, but is not there")

    def _check_terms(self, name: str, terms: Iterable[TableTerm]) -> None:
        for term in terms:
            if not all(0 <= index < len(self.n_rungs) for index in (*term.groups, *term.blocks)):
                raise ConfigError(
                    f"{name} has a table for groups that are not there: {term.groups}"
                )
            if not all(self.n_rungs[block] == 2 for block in term.blocks):
                raise ConfigError(f"{name} has blocks {term.blocks} of other than two rungs")
            shape = tuple(self.n_rungs[group] for group in term.groups)
            if term.table.shape != shape:
                raise ConfigError(
                    f"{name} has a table of shape {term.table.shape} for groups {term.groups}, "
                    f"whose rungs make {shape}"
                )
            if not np.all(np.isfinite(term.table)):
                raise ConfigError(f"{name} has a table with NaN or infinity, groups {term.groups}")
            if len(shape) > 1 and term.table.size > MAX_CELLS:
                raise ConfigError(
                    f"{name} has a table of {term.table.size:,} cells for groups {term.groups}; "
                    f"at most {MAX_CELLS:,} can be solved exactly: allow fewer rungs"
                )


@dataclass(frozen=True)
class ProgramSolution:
    """The best choice of rungs that was found, and what is proven of it.

    Args:
        rungs: The rung of each group; those inside removed blocks at their narrowest.
        value: What was maximised.
        bound: No choice within the limits has a larger value; proven.
        costs: By the name of each limit, what the choice costs; never above the limit.
        seconds: Wall seconds that solving took.
        is_proven: Whether nothing is better: the bound is as near as values can differ, which is
            one part in a thousand million where they are no whole numbers.
    """

    rungs: tuple[int, ...]
    value: float
    bound: float
    costs: Mapping[str, float]
    seconds: float
    is_proven: bool

    @property
    def gap(self) -> float:
        """How far the bound is above the value, as a share of it."""
        difference = max(self.bound - self.value, 0.0)
        return difference / abs(self.value) if self.value else (math.inf if difference else 0.0)


def canonicalise(program: WidthProgram, rungs: IntArray) -> IntArray:
    """Narrow the groups that make no difference, such as those inside removed blocks.

    Returns:
        A new array of shape (n_groups,) with the same value and costs.
    """
    sums = (program.value, *(each for limit in program.limits for each in limit.sums))
    scopes = {(term.groups, term.blocks) for each in sums for term in each.terms}
    blocks = {block for _, blocks in scopes for block in blocks}
    found = rungs.copy()
    # Blocks first: the groups inside a block inside a removed one go with it.
    for index in (*sorted(blocks), *(g for g in range(len(rungs)) if g not in blocks)):
        matters = any(
            all(found[block] > 0 for block in around if block != index)
            for groups, around in scopes
            if index in groups or index in around
        )
        if not matters and index not in program.fixed:
            found[index] = 0
    return found
