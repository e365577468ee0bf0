"""A program in factors: the terms of the value and of all costs, put together by what they depend on.

Terms over the same groups and blocks share the variables of the program, whether they are of the
value or of a cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property

import numpy as np

from dpod_search.programs.program import WidthProgram
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


VALUE = 0  # the row of the value; costs have the rows after it


@dataclass(frozen=True, eq=False)
class Factor:
    """All that depends on the same groups and blocks.

    Args:
        groups: Indices of groups, ascending.
        blocks: Indices of the blocks without which it is 0, ascending; none of them in groups.
        tables: By row, a table over the rungs left of the groups.
    """

    groups: tuple[int, ...]
    blocks: tuple[int, ...]
    tables: dict[int, FloatArray]

    @property
    def scope(self) -> tuple[int, ...]:
        """Groups and blocks, ascending."""
        return tuple(sorted((*self.groups, *self.blocks)))

    def combine(self, weights: FloatArray) -> FloatArray:
        """Add its tables up over the rows, weighted: a table over the groups."""
        return sum(
            (weights[row] * table for row, table in self.tables.items() if weights[row]),
            start=np.zeros(next(iter(self.tables.values())).shape),
        )

    def spread(self, table: FloatArray) -> FloatArray:
        """Turn a table over the groups into one over the scope: 0 without a block."""
        place = {name: i for i, name in enumerate(self.scope)}
        spread = np.zeros([2 if s in self.blocks else table.shape[self.groups.index(s)]
                           for s in self.scope])  # fmt: skip
        index: list[slice | int] = [slice(None)] * len(place)
        for block in self.blocks:
            index[place[block]] = 1
        spread[tuple(index)] = table
        return spread


@dataclass(frozen=True, eq=False)
class FactoredProgram:
    """A program whose groups have some rungs left.

    Args:
        program: Where it comes from.
        allowed: For each group the rungs left, ascending.
        factors: No two of the same groups and blocks; only groups with a choice are in them.
        constants: What is added to every row, shape (n_rows,).
        limits: The limit of each row, shape (n_rows,); infinite for the value.
    """

    program: WidthProgram
    allowed: tuple[IntArray, ...]
    factors: tuple[Factor, ...]
    constants: FloatArray
    limits: FloatArray

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of rungs left of each group."""
        return tuple(len(rungs) for rungs in self.allowed)

    @cached_property
    def blocks(self) -> frozenset[int]:
        """The groups that are blocks of some factor."""
        return frozenset(block for factor in self.factors for block in factor.blocks)

    def measure(self, places: IntArray) -> FloatArray:
        """Return every row of one choice, shape (n_rows,).

        Args:
            places: For each group the index into the rungs left.
        """
        rows = self.constants.copy()
        for factor in self.factors:
            if all(places[block] for block in factor.blocks):
                place = tuple(places[list(factor.groups)])
                for row, table in factor.tables.items():
                    rows[row] += table[place]
        return rows

    def is_within(self, places: IntArray) -> bool:
        """Say whether a choice is within every limit, by the sums as they were given."""
        rungs = self.to_rungs(places)
        return all(limit.measure(rungs) <= limit.limit for limit in self.program.limits)

    def to_rungs(self, places: IntArray) -> IntArray:
        """Turn indices into the rungs left into rungs."""
        return np.array([r[i] for r, i in zip(self.allowed, places, strict=True)], dtype=np.int64)

    def restrict(self, kept: Sequence[IntArray]) -> FactoredProgram:
        """Leave fewer rungs.

        Args:
            kept: For each group the indices of those to keep among the rungs left.
        """
        allowed = tuple(a[k] for a, k in zip(self.allowed, kept, strict=True))
        cut = (_cut(factor, kept, allowed) for factor in self.factors)
        found = [factor for factor in cut if factor is not None]
        return _gather(self, allowed, found)


def factor_program(program: WidthProgram) -> FactoredProgram:
    """Put the terms of a program together; fixed groups are no longer in them."""
    rows = [(program.value, np.inf)]
    rows += [(each, limit.limit) for limit in program.limits for each in limit.sums]
    allowed = tuple(np.arange(n) for n in program.n_rungs)
    single = (
        Factor(term.groups, term.blocks, {row: np.asarray(term.table, dtype=np.float64)})
        for row, (each, _) in enumerate(rows)
        for term in each.terms
    )
    limits = np.array([limit for _, limit in rows])
    inside = (_cut(factor, allowed, allowed) for factor in single)
    found = [factor for factor in inside if factor is not None]
    factored = _gather(
        FactoredProgram(program, allowed, (), np.zeros(len(rows)), limits), allowed, found
    )
    fixed = (np.array([program.fixed[g]]) if g in program.fixed else a
             for g, a in enumerate(allowed))  # fmt: skip
    return factored.restrict(tuple(fixed))


def _cut(factor: Factor, kept: Sequence[IntArray], allowed: Sequence[IntArray]) -> Factor | None:
    # One that a removed block takes with it is None.
    if any(allowed[block][-1] == 0 for block in factor.blocks):
        return None
    groups = tuple(g for g in factor.groups if len(kept[g]) > 1 and g not in factor.blocks)
    index: list[IntArray | int] = []
    for group in factor.groups:
        is_last = len(kept[group]) == 1 or group in factor.blocks
        # What depends on a block and exists with it only depends on it no longer.
        index.append(int(kept[group][-1]) if is_last else kept[group])
    tables = {row: _take(table, index) for row, table in factor.tables.items()}
    return Factor(groups, tuple(b for b in factor.blocks if len(kept[b]) > 1), tables)


def _take(table: FloatArray, index: Sequence[IntArray | int]) -> FloatArray:
    for axis in reversed(range(len(index))):
        table = np.take(table, index[axis], axis=axis)
    return table


def _gather(
    origin: FactoredProgram, allowed: tuple[IntArray, ...], factors: Iterable[Factor]
) -> FactoredProgram:
    constants = origin.constants.copy()
    merged: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[int, FloatArray]] = {}
    for factor in factors:
        if not factor.groups and not factor.blocks:
            for row, table in factor.tables.items():
                constants[row] += table
            continue
        tables = merged.setdefault((factor.groups, factor.blocks), {})
        for row, table in factor.tables.items():
            tables[row] = tables[row] + table if row in tables else table
    gathered = tuple(Factor(groups, blocks, tables) for (groups, blocks), tables in merged.items())
    return replace(origin, allowed=allowed, factors=gathered, constants=constants)
