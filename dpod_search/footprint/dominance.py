"""Of sums of tables whose largest counts: which ones never decide."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.tabulated import TableSum


_Key = tuple[tuple[int, ...], tuple[int, ...]]  # groups and blocks of a part
_N_SAMPLES = 256
_MOST_BLOCKS = 6  # whose every choice is looked at


def drop_dominated(sums: Sequence[TableSum]) -> tuple[TableSum, ...]:
    """Leave out sums that another one is nowhere below: without them the largest is the same.

    Args:
        sums: Of the same space.

    Returns:
        The others, in their order. All that are left out are proven to be; some that stay may
        never be the largest either.
    """
    parts = [{(term.groups, term.blocks): term.table for term in each.terms} for each in sums]
    values = _sample(sums)
    order = np.argsort(-values.sum(axis=1), kind="stable")
    kept: list[int] = []
    for i in order:  # what is above another one everywhere has the larger sum, and comes first
        candidates = (j for j in kept if (values[j] >= values[i]).all())
        if not any(_is_nowhere_below(parts[j], parts[i]) for j in candidates):
            kept.append(int(i))
    return tuple(sums[i] for i in sorted(kept))


def _sample(sums: Sequence[TableSum]) -> FloatArray:
    """Return the sums at some subnets, shape (n_sums, n): it settles most pairs at once."""
    n_rungs: dict[int, int] = {}
    for term in itertools.chain.from_iterable(each.terms for each in sums):
        n_rungs.update(zip(term.groups, term.table.shape, strict=True))
        n_rungs.update((block, 2) for block in term.blocks if block not in n_rungs)
    rng = np.random.default_rng(0)
    rungs = np.zeros((_N_SAMPLES, max(n_rungs, default=-1) + 1), dtype=np.int64)
    for group, n in n_rungs.items():
        rungs[:, group] = rng.integers(n, size=_N_SAMPLES)
        rungs[0, group], rungs[1, group] = 0, n - 1
    return np.array([each.at(rungs) for each in sums])


def _is_nowhere_below(upper: Mapping[_Key, FloatArray], lower: Mapping[_Key, FloatArray]) -> bool:
    """Say whether one sum is proven to be at least another for all rungs."""
    excess: dict[_Key, FloatArray] = {}
    for key in {**upper, **lower}:
        table = np.asarray(upper.get(key, 0.0) - lower.get(key, np.array(0.0)))
        if table.any():
            excess[key] = table
    blocks = sorted({block for _, inside in excess for block in inside})
    if len(blocks) > _MOST_BLOCKS:
        return _find_least_apart(excess) >= 0
    return all(
        _find_least(excess, frozenset(itertools.compress(blocks, is_there))) >= 0
        for is_there in itertools.product((True, False), repeat=len(blocks))
    )


def _find_least(parts: Mapping[_Key, FloatArray], present: frozenset[int]) -> float:
    """Return a lower bound of a sum with some blocks; exact where no two parts share a group."""
    tables: dict[tuple[int, ...], FloatArray] = {}
    for (groups, blocks), table in parts.items():
        if present.issuperset(blocks):
            tables[groups] = tables.get(groups, 0.0) + table
    return sum(float(table.min()) for table in tables.values())


def _find_least_apart(parts: Mapping[_Key, FloatArray]) -> float:
    """Return a lower bound of a sum with any blocks: every part as small as it can be alone."""
    return sum(
        min(float(table.min()), 0.0) if blocks else float(table.min())
        for (_, blocks), table in parts.items()
    )
