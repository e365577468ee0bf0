"""Sums of products of sizes, at many widths at once: each size is affine in the widths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpod_search.supernet import Layout
from dpod_search.supernet import full_size
from dpod_search.supernet import is_elastic
from dpod_search.supernet.layout import Segment


FloatArray = npt.NDArray[np.float64]
# Clauses of blocks: it is open where each clause has a block that is not removed.
Gate = tuple[tuple[int, ...], ...]

_ONE: Layout = (Segment(None, 1),)


class Term(NamedTuple):
    """A product of sizes. A plain tuple, since thousands of them are hashed.

    Args:
        constant: What the sizes are multiplied by.
        layouts: The sizes.
        gate: The product is 0 where this is closed.
        if_equal: It is 0 where these two sizes differ, too.
    """

    constant: float
    layouts: tuple[Layout, ...]
    gate: Gate = ()
    if_equal: tuple[Layout, Layout] | None = None

    def scale(self, factor: float) -> Term:
        """Return it multiplied by a factor."""
        return self._replace(constant=factor * self.constant)


class Sums:
    """Sums of terms, at many widths at once. What several terms have in common is computed once.

    Args:
        sums: For each its terms.
        n_groups: Number of groups.
    """

    def __init__(self, sums: Sequence[Sequence[Term]], n_groups: int) -> None:
        """Read the terms once."""
        columns: dict[Term, int] = {}  # products of sizes that vary, without their constants
        entries: list[tuple[int, int, float]] = []
        for i, terms in enumerate(sums):
            for term in terms:
                fixed = [axis for axis in term.layouts if not is_elastic(axis)]
                constant = term.constant * math.prod(map(full_size, fixed))
                varying = tuple(axis for axis in term.layouts if is_elastic(axis))
                product = Term(1, varying, term.gate, term.if_equal)
                if constant:
                    entries.append((columns.setdefault(product, len(columns)), i, constant))
        self._constants = np.zeros((len(columns), len(sums)))
        for column, i, constant in entries:
            self._constants[column, i] += constant
        most = max([1, *(len(term.layouts) for term in columns)])
        # The k-th factor of each product; those with fewer are multiplied by 1.
        self._factors = [
            make_affine([(*term.layouts, *[_ONE] * most)[k] for term in columns], n_groups)
            for k in range(most)
        ]
        self._gates = Gates([term.gate for term in columns], n_groups)
        pairs = {i: term.if_equal for term, i in columns.items() if term.if_equal is not None}
        self._conditional = list(pairs)
        self._sides = [make_affine([p[side] for p in pairs.values()], n_groups) for side in (0, 1)]

    def at(self, widths: npt.ArrayLike) -> FloatArray:
        """Return the sums at widths of shape (n, n_groups), shape (n, n_sums)."""
        rows = np.asarray(widths, dtype=float)
        extended = np.hstack([rows, np.ones((len(rows), 1))])
        first, *others = self._factors
        products = extended @ first.T
        for factor in others:
            products *= extended @ factor.T
        products = self._gates.close(products, extended)
        if self._conditional:
            first, second = (extended @ side.T for side in self._sides)
            products[:, self._conditional] *= first == second
        values: FloatArray = products @ self._constants
        return values


class Gates:
    """Which columns of a table are 0 because blocks are removed.

    Args:
        gates: For each column clauses, of which each needs one of its blocks.
        n_groups: Number of groups.
    """

    def __init__(self, gates: Sequence[Gate], n_groups: int) -> None:
        """Read the clauses once."""
        clauses = sorted({clause for gate in gates for clause in gate})
        # Of which blocks each clause is, and which clauses each column needs.
        self._blocks = np.zeros((n_groups + 1, len(clauses)))
        for j, clause in enumerate(clauses):
            self._blocks[list(clause), j] = 1
        self._needed = np.array([[c in gate for gate in gates] for c in clauses], dtype=float)

    def close(self, table: FloatArray, extended: FloatArray) -> FloatArray:
        """Return a table of shape (n, n_columns) with 0 where a block is missed."""
        if not len(self._needed):
            return table
        missing = (extended @ self._blocks == 0).astype(float)
        return np.where(missing @ self._needed > 0, 0.0, table)


def all_of(blocks: Sequence[int]) -> Gate:
    """Return the gate of what needs every one of some blocks."""
    return tuple((block,) for block in blocks)


def make_affine(layouts: Sequence[Layout], n_groups: int) -> FloatArray:
    """Return the sizes of layouts as a table of shape (n_layouts, n_groups + 1).

    A row holds the elements added per unit of each group's width, and the constant.
    """
    table = np.zeros((len(layouts), n_groups + 1))
    for row, layout in zip(table, layouts, strict=True):
        for segment in layout:
            if segment.group is None:
                row[-1] += segment.size
            else:
                row[segment.group] += segment.repeat
    return table
