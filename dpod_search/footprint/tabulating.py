"""Every closed-form footprint as sums of small tables over rungs, for integer programs.

A size is affine in the widths, so a product of sizes is a sum of products of few widths each, and
each of these is a table. A gate, which closes where blocks are removed, becomes products of
blocks. Peak memory is the largest of several sums, one for each moment that can be the worst.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import reduce

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.footprint.dominance import drop_dominated
from dpod_search.footprint.metrics import METRICS
from dpod_search.footprint.metrics import Largest
from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.monomials import Gate
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.footprint.monomials import make_affine
from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.tabulated import Tabulated


# The parts of a sum double with every block of a clause.
_MOST_BLOCKS = 12
_MOST_CELLS = 1_000_000

_Part = tuple[tuple[int, ...], FloatArray]  # groups, and a table over their rungs


def tabulate_footprint(supernet: Supernet) -> Tabulated:
    """Write the footprint of a supernet's subnets as sums of tables.

    Args:
        supernet: The net to measure.

    Returns:
        By metric the sums of which the largest is what ``FootprintModel`` counts, before it is
        rounded: one for ``macs``, ``params`` and ``weight_bytes``, one for each moment that can
        be the worst for ``peak_bytes``.

    Raises:
        ConfigError: If a part depends on more groups or blocks than a table can hold.
    """
    tables = _Tables(supernet)
    return {name: tables.write(metric(supernet)) for name, metric in METRICS.items()}


class _Tables:
    """Turns terms into tables over the rungs of a space.

    Args:
        supernet: Whose space and groups they are.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._names = supernet.space.names
        self._widths = [np.array(rungs, dtype=float) for rungs in supernet.space.rungs]

    def write(self, metric: Sequence[Term] | Largest) -> tuple[TableSum, ...]:
        """Return the sums of which the largest is a metric."""
        if not isinstance(metric, Largest):
            return (self._add(metric),)
        return drop_dominated([each for terms in metric.sums for each in self._split(terms)])

    def _add(self, terms: Iterable[Term]) -> TableSum:
        """Return the sum of terms."""
        total = TableSum.of(part for term in terms for part in self._tabulate(term))
        return TableSum(tuple(part for part in total.terms if part.table.any()))

    def _split(self, terms: Sequence[Term]) -> Iterator[TableSum]:
        """Yield sums of which the largest is a sum whose terms are never negative.

        So where something is there if any one of some blocks is, the largest of the sums that
        ask for one of these blocks each says the same.
        """
        clauses = sorted({clause for term in terms for clause in term.gate})
        for blocks in itertools.product(*clauses):
            chosen = dict(zip(clauses, blocks, strict=True))
            gates = [all_of([chosen[clause] for clause in term.gate]) for term in terms]
            yield self._add(t._replace(gate=gate) for t, gate in zip(terms, gates, strict=True))

    def _tabulate(self, term: Term) -> Iterator[TableTerm]:
        pair = term.if_equal
        parts = self._expand(term) if pair is None else [self._compare(term, pair)]
        blocks = _multiply_out(term.gate)
        for groups, table in parts:
            for together, sign in blocks.items():
                yield TableTerm(groups, sign * table, together)

    def _expand(self, term: Term) -> Iterator[_Part]:
        """Multiply out a product of sizes: a part for each choice of one group in every size."""
        factors = [self._read(layout) for layout in term.layouts]
        found: Counter[tuple[int, ...]] = Counter()
        for choice in itertools.product(*(factor.items() for factor in factors)):
            groups = tuple(sorted(group for group, _ in choice if group is not None))
            found[groups] += math.prod(n_elements for _, n_elements in choice)
        for groups, n_elements in found.items():
            powers = Counter(groups)  # ascending, as the groups are
            vectors = [self._widths[group] ** power for group, power in powers.items()]
            product = reduce(np.multiply.outer, vectors, np.array(1.0))
            yield tuple(powers), _clean(term.constant * n_elements) * product

    def _compare(self, term: Term, pair: tuple[Layout, Layout]) -> _Part:
        """Return one table of a product of sizes, with 0 where two sizes are not equal."""
        factors = [self._read(layout) for layout in (*term.layouts, *pair)]
        groups = sorted({group for factor in factors for group in factor if group is not None})
        if math.prod(len(self._widths[group]) for group in groups) > _MOST_CELLS:
            names = ", ".join(self._names[group] for group in groups)
            raise ConfigError(
                f"peak memory depends on {len(groups)} groups at once ({names}), too many for a "
                "table; limit another footprint, or give these groups fewer widths"
            )
        grid = np.meshgrid(*(self._widths[group] for group in groups), indexing="ij")
        width_of = dict(zip(groups, grid, strict=True))
        table = np.full([len(self._widths[group]) for group in groups], term.constant)
        *sizes, first, second = (
            sum(
                (n * (1 if group is None else width_of[group]) for group, n in factor.items()),
                start=np.zeros_like(table),
            )
            for factor in factors
        )
        return tuple(groups), reduce(np.multiply, sizes, table) * (first == second)

    def _read(self, layout: Layout) -> dict[int | None, int]:
        """Return the elements of a layout per unit of each of its groups, and those that stay."""
        n_groups = len(self._widths)
        (row,) = make_affine([layout], n_groups)
        return {int(i) if i < n_groups else None: int(row[i]) for i in np.flatnonzero(row)}


def _clean(value: float) -> float:
    """Return the whole number that a value is but for rounding, as 4 / 3 * 3 may be."""
    nearest = float(round(value))
    return nearest if math.isclose(value, nearest, rel_tol=1e-12) else value


def _multiply_out(gate: Gate) -> dict[tuple[int, ...], int]:
    """Return a gate as a sum of products of blocks, by inclusion and exclusion.

    A clause is there unless all its blocks are removed: 1 - (1 - a)(1 - b) = a + b - ab.
    """
    total = Counter({frozenset[int](): 1})
    for clause in gate:
        if len(clause) > _MOST_BLOCKS:
            raise ConfigError(
                f"{len(clause)} removable blocks share a weight, and tables are made for "
                f"{_MOST_BLOCKS} at most; keep some of these blocks"
            )
        longer: Counter[frozenset[int]] = Counter()
        for n in range(1, len(clause) + 1):
            for some in itertools.combinations(clause, n):
                for together, sign in total.items():
                    longer[together | set(some)] += sign * (-1) ** (n + 1)
        total = longer
    return {tuple(sorted(together)): sign for together, sign in total.items() if sign}
