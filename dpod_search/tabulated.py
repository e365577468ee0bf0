"""Functions of the widths as sums of small tables: what an integer program can be made of.

A footprint, a latency or an importance of a subnet is a sum over its layers, and what a layer adds
depends on few groups: that of its output and that of its input, mostly, and on the removable
blocks it is in. Each such part is a table over the rungs of its groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TableTerm:
    """One part of a sum.

    Args:
        groups: Indices of the groups it depends on, ascending; none for a constant.
        table: Its value by the rung of each of them, shape (n_rungs of the first, ...).
        blocks: Indices of the groups of removable blocks, ascending: without one of them it is 0.
    """

    groups: tuple[int, ...]
    table: FloatArray
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check what everything after trusts."""
        assert list(self.groups) == sorted(set(self.groups))
        assert list(self.blocks) == sorted(set(self.blocks))
        assert self.table.ndim == len(self.groups)

    def at(self, rungs: IntArray) -> FloatArray:
        """Return its value at rungs of shape (n, n_groups), as an array of shape (n,)."""
        values = np.broadcast_to(self.table[tuple(rungs[:, g] for g in self.groups)], len(rungs))
        is_there = np.all(rungs[:, list(self.blocks)] > 0, axis=1)
        return np.where(is_there, values, 0.0)


@dataclass(frozen=True, eq=False)
class TableSum:
    """A number of a subnet as a sum of parts.

    Args:
        terms: The parts.
    """

    terms: tuple[TableTerm, ...]

    @classmethod
    def of(cls, terms: Iterable[TableTerm]) -> TableSum:
        """Add up the parts that depend on the same groups and blocks."""
        tables: dict[tuple[tuple[int, ...], tuple[int, ...]], FloatArray] = {}
        for term in terms:
            key = (term.groups, term.blocks)
            known = tables.get(key)
            tables[key] = term.table if known is None else known + term.table
        return cls(tuple(TableTerm(g, table, b) for (g, b), table in tables.items()))

    def at(self, rungs: npt.ArrayLike) -> FloatArray:
        """Return the sum at many subnets.

        Args:
            rungs: Rung indices, 0 being the narrowest of a group (and a block's removal), shape
                (n, n_groups).

        Returns:
            Shape (n,).
        """
        rows = np.asarray(rungs, dtype=np.int64)
        return sum((term.at(rows) for term in self.terms), start=np.zeros(len(rows)))

    def scale(self, factor: float) -> TableSum:
        """Return it with every part multiplied by a factor."""
        return TableSum(tuple(TableTerm(t.groups, factor * t.table, t.blocks) for t in self.terms))


def add_tables(sums: Sequence[TableSum]) -> TableSum:
    """Return the sum of several."""
    return TableSum.of(term for each in sums for term in each.terms)


# By name of a footprint, the sums of which the largest is that footprint: one, mostly.
Tabulated = Mapping[str, tuple[TableSum, ...]]
