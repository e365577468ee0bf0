"""Solving a program to proven optimality.

1. *Relax*: costs are charged for instead of limited, and the best choice is found by elimination
   (``relaxation.py``). That gives a bound, choices within the limits, and the rungs that no
   better choice can have; those are dropped.
2. *Branch*, where the bound is far off: the choices whose mixture reaches the bound differ in a
   group that many layers share, such as the channels of a residual stage. Its rungs are split.
3. *Finish*: what is left goes to HiGHS, which looks for something better than the best so far
   and else proves that there is none (``mixed_integer.py``).

Where groups hang together too much for elimination, HiGHS does it all.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Sequence

import numpy as np

from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import SolverError
from dpod_search.errors import check_range
from dpod_search.programs.factors import VALUE
from dpod_search.programs.factors import FactoredProgram
from dpod_search.programs.factors import factor_program
from dpod_search.programs.infeasible import explain_infeasible
from dpod_search.programs.mixed_integer import find_step
from dpod_search.programs.mixed_integer import solve_factored
from dpod_search.programs.program import ProgramSolution
from dpod_search.programs.program import WidthProgram
from dpod_search.programs.program import canonicalise
from dpod_search.programs.relaxation import Relaxation
from dpod_search.programs.relaxation import Relaxer
from dpod_search.quantities import number
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


PROOF = 1e-9  # a bound as near as this, as a share of the value, is a proof
MAX_CELLS = 3_000_000  # of joined tables; beyond that elimination costs more than it saves
MAX_CHECKED = 8  # rows whose least cost is looked at before anything else
NARROW = 0.003  # a gap, as a share of the value, that HiGHS closes soon
MIN_SHARED = 5  # neighbours of a group that is worth branching on
NO_TIME = 0.05
N_NEAR = 1.5  # rungs for each group among which a good choice is looked for first

Bounds = FloatArray | None


def solve_program(
    program: WidthProgram, *, seconds: float = 60.0, gap: float = 0.0
) -> ProgramSolution:
    """Find the choice of rungs with the largest value within the limits.

    Args:
        program: The program.
        seconds: Wall seconds, 0.001 to 1,000,000,000, after which the best so far is returned, with
            its proven gap.
        gap: How far the bound may be above the value, as a share of it; 0 for a proof.

    Raises:
        ConfigError: If ``seconds`` or ``gap`` is out of range.
        InfeasibleError: If nothing is within the limits, naming what can be reached.
        SolverError: If the time was over before anything within the limits was found.
    """
    check_range("seconds", seconds, low=0.001, high=MAX_SECONDS)
    check_range("gap", gap, low=0, high=1)
    start = time.monotonic()
    solving = _Solving(factor_program(program), gap, start + seconds)
    solving.run()
    if solving.best is None:
        if solving.bound == -math.inf:
            raise explain_infeasible(program, seconds)
        names = " and ".join(limit.name for limit in program.limits)
        raise SolverError(
            f"in {number(seconds)} seconds no widths within the limits of {names} were found, "
            "nor that there are none; give the solver more seconds, or raise a limit"
        )
    rungs = canonicalise(program, solving.best)
    value = float(program.value.at(rungs[None])[0])
    bound = max(solving.bound, value)
    return ProgramSolution(
        tuple(map(int, rungs)),
        value,
        bound,
        {limit.name: limit.measure(rungs) for limit in program.limits},
        time.monotonic() - start,
        bound - value <= 1.01 * PROOF * abs(value),
    )


class _Solving:
    """A solver at work: the best choice so far, and what is left to look at."""

    def __init__(self, factored: FactoredProgram, gap: float, deadline: float) -> None:
        self.best: IntArray | None = None
        self._value = -math.inf
        self._left = -math.inf  # the bound of all that was left out or given up
        self._gap, self._deadline = gap, deadline
        tables = [factor.tables[VALUE] for factor in factored.factors if VALUE in factor.tables]
        self._step = find_step(tables)
        self._noise = 1e-12 * sum(float(np.abs(table).max()) for table in tables)
        self._count = itertools.count()
        self._queue: list[tuple[float, int, FactoredProgram, FloatArray]] = []
        prices = np.zeros(len(factored.limits))
        prices[VALUE] = -1.0
        self._add(math.inf, factored, prices)

    @property
    def bound(self) -> float:
        """Nothing has a larger value."""
        is_equal = self._step > 0 and self._left < self._value + self._step - self._noise
        return self._value if is_equal else max(self._value, self._left)

    @property
    def _wanted(self) -> float:
        """What a choice must reach to be of interest."""
        if self.best is None:
            return -math.inf
        share = max(self._gap, PROOF) * abs(self._value)
        return self._value + max(self._step, share)

    def run(self) -> None:
        """Look at everything that could be better, until the time is over."""
        while self._queue:
            bound, _, factored, prices = heapq.heappop(self._queue)
            if self._is_hopeless(-bound) or self._deadline - time.monotonic() < NO_TIME:
                self._left = max(self._left, -bound)
            else:
                self._look(factored, -bound, prices)

    def _add(self, bound: float, factored: FactoredProgram, prices: FloatArray) -> None:
        heapq.heappush(self._queue, (-bound, next(self._count), factored, prices))

    def _is_hopeless(self, bound: float) -> bool:
        return bound < self._wanted - self._noise

    def _look(self, factored: FactoredProgram, bound: float, prices: FloatArray) -> None:
        relaxer = Relaxer(factored)
        if relaxer.elimination.n_cells > MAX_CELLS:
            self._finish(factored, bound)
            return
        rows = range(1, len(factored.limits))
        if len(rows) <= MAX_CHECKED:
            # Noise must not call out of reach what is at its limit exactly.
            slack = 1e-9 * np.abs(factored.limits)
            if any(relaxer.find_least(row) > factored.limits[row] + slack[row] for row in rows):
                return
        relaxation = relaxer.relax(prices, self._deadline)
        bound = min(bound, relaxation.bound + self._noise)
        for choice in relaxation.choices:
            self._note(factored, choice)
        if self._is_hopeless(bound):
            self._left = max(self._left, bound)
        else:
            self._look_closer(factored, bound, relaxation, relaxer.bound_each(relaxation))

    def _look_closer(
        self,
        factored: FactoredProgram,
        bound: float,
        relaxation: Relaxation,
        bounds: Sequence[Bounds],
    ) -> None:
        is_narrow = bound - self._value <= NARROW * abs(bound)
        split = None if is_narrow else _find_split(factored, relaxation)
        if split is None:
            # The rungs nearest to the bound alone are soon solved, and a good choice drops more.
            few = _keep(bounds, _find_cut(bounds, N_NEAR))
            self._finish(factored.restrict(few), bound, is_all=False)
        kept = _keep(bounds, self._wanted - self._noise)
        self._left = max(self._left, _bound_others(bounds, kept))
        if not all(len(rungs) for rungs in kept):
            return
        if split is None:
            self._finish(factored.restrict(kept), bound)
            return
        group, last = split
        for half in (kept[group][kept[group] <= last], kept[group][kept[group] > last]):
            if len(half):
                some = [half if g == group else rungs for g, rungs in enumerate(kept)]
                self._add(bound, factored.restrict(some), relaxation.prices)

    def _note(self, factored: FactoredProgram, choice: IntArray) -> None:
        value = float(factored.measure(choice)[VALUE])
        if value > self._value and factored.is_within(choice):
            self._value, self.best = value, factored.to_rungs(choice)

    def _finish(self, factored: FactoredProgram, bound: float, *, is_all: bool = True) -> None:
        wanted = self._wanted
        answer = solve_factored(
            factored,
            at_least=wanted,
            at_most=bound,
            step=self._step,
            gap=max(self._gap, PROOF / 2 if self._step == 0 else 0.0),
            deadline=self._deadline,
        )
        if is_all:
            # It has looked for nothing below what was wanted.
            below = min(wanted - 0.5 * self._step, bound)
            self._left = max(self._left, answer.bound, below)
        if answer.places is not None:
            self._note(factored, answer.places)


def _keep(bounds: Sequence[Bounds], least: float) -> list[IntArray]:
    """Return the rungs that reach a value, as indices into those left."""
    return [
        np.zeros(1, dtype=np.int64) if each is None else np.flatnonzero(each >= least)
        for each in bounds
    ]


def _bound_others(bounds: Sequence[Bounds], kept: Sequence[IntArray]) -> float:
    """Return what the rungs that are not kept could reach."""
    others = (np.delete(b, k) for b, k in zip(bounds, kept, strict=True) if b is not None)
    return max((float(each.max(initial=-math.inf)) for each in others), default=-math.inf)


def _find_cut(bounds: Sequence[Bounds], n_near: float) -> float:
    """Return the value that so many rungs for each group with a choice reach."""
    choices = [each for each in bounds if each is not None and len(each) > 1]
    every = np.sort(np.concatenate(choices))[::-1] if choices else np.zeros(1)
    return float(every[min(int(n_near * len(choices)), len(every) - 1)])


def _find_split(factored: FactoredProgram, relaxation: Relaxation) -> tuple[int, int] | None:
    """Find a group that many others meet and the mixture does not agree on, and its middle rung."""
    near: dict[int, set[int]] = {}
    for factor in factored.factors:
        for group in factor.groups:
            near.setdefault(group, set()).update(factor.groups)
    is_mixed = relaxation.shares > 1e-6
    choices, shares = relaxation.choices[is_mixed], relaxation.shares[is_mixed]
    if not len(choices):
        return None
    low, high = choices.min(axis=0), choices.max(axis=0)
    groups = [g for g in near if len(near[g]) > MIN_SHARED and low[g] < high[g]]
    if not groups:
        return None
    group = max(groups, key=lambda g: (len(near[g]), -g))
    middle = math.floor(shares @ choices[:, group] / shares.sum())
    return group, min(max(middle, int(low[group])), int(high[group]) - 1)
