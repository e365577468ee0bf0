"""The program as a mixed-integer linear one, exactly.

A group has a binary variable for each rung left, exactly one of them 1. A factor over several
groups has a variable u >= 0 for each combination of their rungs; its marginals are the groups'
variables, so that with binaries u is 1 for the chosen combination and 0 elsewhere. A factor within
a removable block has, in place of the groups' variables, their products with the block's binary:
w <= x, and over the rungs they add up to the block's. A group that matters within one block only
needs no products: its own variables add up to the block's binary.

Reference: the exact linearisation of products of binaries by their local marginals (Sherali and
Adams: A hierarchy of relaxations, 1990); MDP (arXiv 2504.02168, equations 4 to 8) states the
products and leaves them to a heuristic decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array

from dpod_search.programs.factors import Factor
from dpod_search.programs.factors import FactoredProgram
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


class LinearProgram:
    """Variables in [0, 1], rows of constraints, and the rows of a program in those variables.

    Args:
        factored: The program.
    """

    def __init__(self, factored: FactoredProgram) -> None:
        self.factored = factored
        self.n_variables = 0
        self._integral: list[IntArray] = []
        self._columns: list[IntArray] = []
        self._coefficients: list[FloatArray] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._outer = _find_outer(factored)
        self._present: dict[frozenset[int], int] = {}
        self._within: dict[tuple[int, frozenset[int]], IntArray] = {}
        self._places: list[tuple[int, IntArray, FloatArray]] = []
        self._home = _find_homes(factored)
        self._add_blocks()
        self.choices = self._add_choices()
        for factor in factored.factors:
            self._add_factor(factor)

    @property
    def integrality(self) -> IntArray:
        """1 for the binaries, shape (n_variables,)."""
        integral = np.zeros(self.n_variables, dtype=np.int64)
        for columns in self._integral:
            integral[columns] = 1
        return integral

    @property
    def bounds(self) -> Bounds:
        """All variables are in [0, 1]."""
        return Bounds(0, 1)

    @property
    def structure(self) -> LinearConstraint:
        """The constraints that make the variables mean what they do."""
        lengths = [len(columns) for columns in self._columns]
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        shape = (len(lengths), self.n_variables)
        data = (np.concatenate(self._coefficients), np.concatenate(self._columns), pointers)
        return LinearConstraint(csr_array(data, shape=shape), self._low, self._high)

    def express(self, row: int) -> FloatArray:
        """Return the coefficients of a row of the program, its constant left out."""
        coefficients = np.zeros(self.n_variables)
        for which, columns, table in self._places:
            if which == row:
                coefficients[columns] += table
        return coefficients

    def read(self, solution: FloatArray) -> IntArray:
        """Return, for each group, the index into its rungs left that a solution chooses."""
        places = np.zeros(len(self.factored.sizes), dtype=np.int64)
        for group, columns in self.choices.items():
            chosen = solution[columns]
            if chosen.sum() > 0.5:
                places[group] = np.argmax(chosen)
        return places

    def exclude(self, places: IntArray) -> LinearConstraint:
        """Return a constraint that all choices meet but one (and what differs where nothing is)."""
        columns = []
        for group, own in self.choices.items():
            home = self._home[group]
            if all(places[block] for block in home):
                columns.append(int(own[places[group]]))
        row = np.zeros((1, self.n_variables))
        row[0, columns] = 1
        return LinearConstraint(row, -np.inf, len(columns) - 1)

    def _new(self, n: int) -> IntArray:
        self.n_variables += n
        return np.arange(self.n_variables - n, self.n_variables)

    def _require(
        self, plus: Sequence[int] | IntArray, minus: Sequence[int], low: float, high: float
    ) -> None:
        self._columns.append(np.concatenate([plus, minus]).astype(np.int64))
        self._coefficients.append(np.concatenate([np.ones(len(plus)), -np.ones(len(minus))]))
        self._low.append(low)
        self._high.append(high)

    def _add_blocks(self) -> None:
        self.blocks = {block: self._new(2) for block in sorted(self.factored.blocks)}
        for block, columns in self.blocks.items():
            self._integral.append(columns)
            self._require(columns, [], 1, 1)
            for outer in sorted(self._outer[block]):
                self._require([columns[1]], [self.blocks[outer][1]], -np.inf, 0)

    def _add_choices(self) -> dict[int, IntArray]:
        choices = dict(self.blocks)
        for group in sorted(self._home.keys() - self.blocks.keys()):
            choices[group] = self._new(self.factored.sizes[group])
            self._integral.append(choices[group])
            self._sum_to_presence(choices[group], self._home[group])
        return choices

    def _sum_to_presence(self, columns: IntArray, blocks: frozenset[int]) -> None:
        if blocks:
            self._require(columns, [self._presence(blocks)], 0, 0)
        else:
            self._require(columns, [], 1, 1)

    def _presence(self, blocks: frozenset[int]) -> int:
        """The variable that is 1 where all of some blocks are there."""
        if blocks not in self._present:
            columns = [int(self.blocks[block][1]) for block in sorted(self._without_outer(blocks))]
            if len(columns) > 1:
                both = int(self._new(1)[0])
                for column in columns:
                    self._require([both], [column], -np.inf, 0)
                self._require(columns, [both], -np.inf, len(columns) - 1)
                columns = [both]
            self._present[blocks] = columns[0]
        return self._present[blocks]

    def _without_outer(self, blocks: frozenset[int]) -> frozenset[int]:
        # A block that another one of them is always in says nothing more.
        left = set(blocks)
        for block in sorted(blocks):
            if any(block in self._outer[other] for other in left - {block}):
                left.discard(block)
        return frozenset(left)

    def _within_blocks(self, group: int, blocks: frozenset[int]) -> IntArray:
        """Variables of a group's rungs, all 0 unless the blocks are there."""
        if self._without_outer(self._home[group]) == self._without_outer(blocks):
            return self.choices[group]
        if (group, blocks) not in self._within:
            columns = self._new(self.factored.sizes[group])
            for own, choice in zip(columns, self.choices[group], strict=True):
                self._require([own], [choice], -np.inf, 0)
            self._sum_to_presence(columns, blocks)
            self._within[group, blocks] = columns
        return self._within[group, blocks]

    def _add_factor(self, factor: Factor) -> None:
        blocks = frozenset(factor.blocks)
        if not factor.groups:
            columns = np.array([self._presence(blocks)])
        elif len(factor.groups) == 1:
            columns = self._within_blocks(factor.groups[0], blocks)
        else:
            columns = self._add_combinations(factor, blocks)
        for row, table in factor.tables.items():
            self._places.append((row, columns, table.ravel()))

    def _add_combinations(self, factor: Factor, blocks: frozenset[int]) -> IntArray:
        shape = tuple(self.factored.sizes[group] for group in factor.groups)
        columns = self._new(int(np.prod(shape)))
        cube = columns.reshape(shape)
        for axis, group in enumerate(factor.groups):
            for place, own in enumerate(self._within_blocks(group, blocks)):
                self._require(np.take(cube, place, axis=axis).ravel(), [own], 0, 0)
        return columns


def _find_homes(factored: FactoredProgram) -> dict[int, frozenset[int]]:
    """For each group that matters, the blocks without any of which it does not."""
    groups = {group for factor in factored.factors for group in factor.scope}
    return {g: frozenset() if g in factored.blocks else _find_common(factored, g) for g in groups}


def _find_outer(factored: FactoredProgram) -> dict[int, frozenset[int]]:
    """For each block the blocks that it is always inside of."""
    return {block: _find_common(factored, block) for block in factored.blocks}


def _find_common(factored: FactoredProgram, group: int) -> frozenset[int]:
    around = [frozenset(factor.blocks) for factor in factored.factors if group in factor.scope]
    return frozenset.intersection(*around) - {group}
