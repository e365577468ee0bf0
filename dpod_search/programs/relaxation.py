"""A bound on what a program can reach, by charging for its costs instead of limiting them.

For any prices >= 0 the largest value less the priced costs, plus the priced limits, is a bound.
The prices that make it smallest are found with cutting planes: each best choice at some prices is
a plane, and the next prices are where the planes seen so far are lowest.

References:
    Everett: Generalized Lagrange multiplier method for solving problems of optimum allocation of
    resources, 1963 (choices that are best at some prices).
    Kelley: The cutting-plane method for solving convex programs, 1960.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from dpod_search.programs.elimination import Elimination
from dpod_search.programs.factors import VALUE
from dpod_search.programs.factors import FactoredProgram
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


N_PLANES = 60
CLOSE = 1e-7  # as a share of the bound: nearer than that, better prices are not worth a step
FAR = 1e4  # prices beyond this many times value per cost are not tried


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What charging for costs tells of a program.

    Args:
        bound: No choice within the limits has a larger value.
        prices: The price of each row's cost, shape (n_rows,); that of the value is -1.
        choices: The choices that were best at some prices, indices into the rungs left, shape
            (n, n_groups).
        shares: How much each of them has in the mixture that reaches the bound, shape (n,).
    """

    bound: float
    prices: FloatArray
    choices: IntArray
    shares: FloatArray


class Relaxer:
    """Relaxes one program.

    Args:
        factored: The program.
    """

    def __init__(self, factored: FactoredProgram) -> None:
        self.factored = factored
        self.elimination = Elimination(
            factored.sizes, [factor.scope for factor in factored.factors]
        )
        self._span = 0.0

    def relax(self, prices: FloatArray, deadline: float) -> Relaxation:
        """Find the prices with the smallest bound.

        Args:
            prices: Where to begin, shape (n_rows,).
            deadline: By ``time.monotonic()``; what has been found until then is a bound too.
        """
        limits = self.factored.limits[1:]
        highest = self._highest_prices()
        best = (np.inf, prices)
        rows: list[FloatArray] = []
        choices: list[IntArray] = []
        shares = np.ones(1)
        for _ in range(N_PLANES):
            choice = self._choose(prices)
            rows.append(self.factored.measure(choice))
            choices.append(choice)
            bound = rows[-1][VALUE] + prices[1:] @ (limits - rows[-1][1:])
            best = min(best, (bound, prices), key=lambda pair: pair[0])
            lowest, planned, shares = _lowest(np.array(rows), limits, highest)
            is_close = best[0] - lowest <= CLOSE * max(abs(best[0]), 1e-300)
            if is_close or time.monotonic() > deadline:
                break
            prices = np.concatenate([[-1.0], planned])
        return Relaxation(best[0], best[1], np.array(choices), shares)

    def bound_each(self, relaxation: Relaxation) -> list[FloatArray | None]:
        """Bound the value that each rung left can reach; None for groups that nothing needs.

        Returns:
            For each group shape (its rungs left,).
        """
        offset = self._offset(relaxation.prices)
        found = self.elimination.maximise_each(self._combine(relaxation.prices))
        return [None if each is None else each + offset for each in found]

    def find_least(self, row: int) -> float:
        """Return the least that the cost of a row can be, whatever the others are."""
        weights = np.zeros(len(self.factored.limits))
        weights[row] = 1.0
        return float(
            self.factored.constants[row] - self.elimination.maximise(self._combine(weights))[0]
        )

    def _choose(self, prices: FloatArray) -> IntArray:
        return self.elimination.maximise(self._combine(prices))[1]

    def _combine(self, prices: FloatArray) -> list[FloatArray]:
        return [factor.spread(factor.combine(-prices)) for factor in self.factored.factors]

    def _offset(self, prices: FloatArray) -> float:
        # What prices and limits add to the value, constants included.
        limits = np.where(np.isinf(self.factored.limits), 0.0, self.factored.limits)
        return float(prices @ (limits - self.factored.constants))

    def _highest_prices(self) -> FloatArray:
        spans = np.zeros(len(self.factored.limits))
        for factor in self.factored.factors:
            for row, table in factor.tables.items():
                spans[row] += np.abs(table).max()
        costs = np.where(spans[1:] > 0, spans[1:], 1.0)
        highest: FloatArray = FAR * max(spans[VALUE], 1e-300) / costs
        return highest


def _lowest(
    rows: FloatArray, limits: FloatArray, highest: FloatArray
) -> tuple[float, FloatArray, FloatArray]:
    """Return where the planes are lowest: how low, at which prices, and the planes' shares."""
    # In units of the highest price and of the largest value, so that all numbers are near 1.
    slack = (limits - rows[:, 1:]) * highest
    unit = max(np.abs(slack).max(initial=0.0), np.abs(rows[:, VALUE]).max(), 1e-300)
    matrix = np.column_stack([slack / unit, -np.ones(len(rows))])
    cost = np.append(np.zeros(len(limits)), 1.0)
    bounds = [(0.0, 1.0)] * len(limits) + [(None, None)]
    solved = linprog(cost, matrix, -rows[:, VALUE] / unit, bounds=bounds, method="highs")
    if solved.status != 0:  # numbers too far apart; the best bound so far stands
        return np.inf, np.zeros(len(limits)), np.full(len(rows), 1 / len(rows))
    return solved.fun * unit, solved.x[:-1] * highest, -solved.ineqlin.marginals
