"""The best choice of rungs where nothing is limited: groups are maximised out one by one.

Eliminating a group joins the tables that hold it and keeps, for all rungs of their other groups,
the best that it can do. What this costs depends on how the groups hang together: in a chain of
layers with shortcuts a joined table has few groups.

Reference: Dechter: Bucket elimination: A unifying framework for reasoning, 1999.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


class Elimination:
    """An order of elimination, for tables over given scopes.

    Args:
        sizes: Number of choices of each variable.
        scopes: For each table its variables, ascending.
    """

    def __init__(self, sizes: Sequence[int], scopes: Sequence[tuple[int, ...]]) -> None:
        self._sizes = sizes
        self._scopes = scopes
        self._order, self._joined = _order(sizes, scopes)
        turn = {variable: i for i, variable in enumerate(self._order)}
        self._home = [min(turn[v] for v in scope) for scope in scopes]
        self._next = [
            min((turn[u] for u in joined if turn[u] > i), default=None)
            for i, joined in enumerate(self._joined)
        ]

    @property
    def n_cells(self) -> float:
        """Cells of all joined tables together: what a run costs in time and memory."""
        return sum(_count_cells(self._sizes, joined) for joined in self._joined)

    def maximise(self, tables: Sequence[FloatArray]) -> tuple[float, IntArray]:
        """Return the largest sum of the tables, and a choice that has it, shape (n_variables,)."""
        total, joined, _ = self._eliminate(tables)
        best = np.zeros(len(self._sizes), dtype=np.int64)
        for i in reversed(range(len(self._order))):
            variable = self._order[i]
            index = tuple(slice(None) if v == variable else best[v] for v in self._joined[i])
            best[variable] = np.argmax(joined[i][index])
        return total, best

    def maximise_each(self, tables: Sequence[FloatArray]) -> list[FloatArray | None]:
        """Return, for each choice of each variable, the largest sum that has this choice.

        Returns:
            For each variable shape (its size,), or None if it is in no table.
        """
        total, joined, up = self._eliminate(tables)
        found: list[FloatArray | None] = [None] * len(self._sizes)
        for i in reversed(range(len(self._order))):
            variable, following = self._order[i], self._next[i]
            if following is None:
                joined[i] = joined[i] - up[i]  # so that its largest is 0
            else:
                rest = self._rest(i)
                axes = tuple(a for a, v in enumerate(self._joined[following]) if v not in rest)
                down = joined[following].max(axis=axes) - up[i]
                joined[i] = joined[i] + _align(rest, down, self._joined[i])
            axes = tuple(a for a, v in enumerate(self._joined[i]) if v != variable)
            found[variable] = total + joined[i].max(axis=axes)
        return found

    def _eliminate(
        self, tables: Sequence[FloatArray]
    ) -> tuple[float, list[FloatArray], list[FloatArray]]:
        joined = [np.zeros([self._sizes[v] for v in scope]) for scope in self._joined]
        for scope, home, table in zip(self._scopes, self._home, tables, strict=True):
            joined[home] += _align(scope, table, self._joined[home])
        total = 0.0
        up = []
        for i, variable in enumerate(self._order):
            best = joined[i].max(axis=self._joined[i].index(variable))
            up.append(best)
            following = self._next[i]
            if following is None:
                total += float(best)
            else:
                joined[following] += _align(self._rest(i), best, self._joined[following])
        return total, joined, up

    def _rest(self, i: int) -> tuple[int, ...]:
        return tuple(v for v in self._joined[i] if v != self._order[i])


def _order(
    sizes: Sequence[int], scopes: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[tuple[int, ...]]]:
    # Next is always the variable whose joined table is the smallest.
    near: dict[int, set[int]] = {v: set() for scope in scopes for v in scope}
    for scope in scopes:
        for variable in scope:
            near[variable] |= set(scope) - {variable}
    cells = {v: _count_cells(sizes, (v, *around)) for v, around in near.items()}
    order, joined = [], []
    while near:
        variable = min(near, key=lambda v: (cells[v], v))
        around = near.pop(variable)
        order.append(variable)
        joined.append(tuple(sorted((variable, *around))))
        for other in around:
            near[other] |= around
            near[other] -= {variable, other}
            cells[other] = _count_cells(sizes, (other, *near[other]))
    return order, joined


def _count_cells(sizes: Sequence[int], variables: Sequence[int]) -> float:
    # As a float: where everything hangs together it is beyond all integers of a machine.
    return math.prod(float(sizes[variable]) for variable in variables)


def _align(scope: Sequence[int], table: FloatArray, wanted: Sequence[int]) -> FloatArray:
    # Scopes ascend, so that axes only have to be put in between.
    sizes = dict(zip(scope, table.shape, strict=True))
    return table.reshape([sizes.get(variable, 1) for variable in wanted])
