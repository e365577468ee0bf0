"""Products of sizes at many widths at once: each size is affine in the widths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic


FloatArray = npt.NDArray[np.float64]
# Clauses of blocks: it is open where each clause has a block that is not removed.
Gate = tuple[tuple[int, ...], ...]
# A constant, the layouts that it is multiplied by, and its gate.
Term = tuple[float, tuple[Layout, ...], Gate]


class Monomials:
    """Products of layout sizes, each with a constant, at many widths at once.

    Args:
        terms: For each a constant, the layouts that it is multiplied by, and its gate.
        n_groups: Number of groups.
    """

    def __init__(self, terms: Sequence[Term], n_groups: int) -> None:
        """Read the terms once."""
        varying = [[axis for axis in layouts if is_elastic(axis)] for _, layouts, _ in terms]
        self._constants = np.array(
            [
                constant * math.prod(full_size(axis) for axis in layouts if not is_elastic(axis))
                for constant, layouts, _ in terms
            ],
            dtype=float,
        )
        one = (Segment(None, 1),)
        # The k-th factor of each term; those with fewer are multiplied by 1.
        self._factors = [
            make_affine([(*axes, *[one] * (k + 1))[k] for axes in varying], n_groups)
            for k in range(max(map(len, varying), default=0))
        ]
        self._gates = Gates([gate for _, _, gate in terms], n_groups)

    def at(self, extended: FloatArray) -> FloatArray:
        """Return the terms, shape (n, n_terms), at widths that :func:`extend` made."""
        result = np.broadcast_to(self._constants, (len(extended), len(self._constants)))
        for factor in self._factors:
            result = result * (extended @ factor.T)
        return self._gates.close(result, extended)


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


def extend(widths: npt.ArrayLike) -> FloatArray:
    """Return widths of shape (n, n_groups) with a last column of ones."""
    rows = np.asarray(widths, dtype=float)
    return np.hstack([rows, np.ones((len(rows), 1))])


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
