from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from dpod_search.programs.elimination import Elimination


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_it_finds_the_largest_sum_and_that_of_each_choice(sizes, seed):
    draws = np.random.default_rng(seed)
    scopes = [
        tuple(
            sorted(
                map(
                    int, draws.choice(len(sizes), draws.integers(1, len(sizes) + 1), replace=False)
                )
            )
        )
        for _ in range(draws.integers(1, 6))
    ]
    tables = [draws.normal(size=[sizes[v] for v in scope]) for scope in scopes]
    every = np.array(list(itertools.product(*map(range, sizes))))
    sums = sum(
        table[tuple(every[:, v] for v in scope)]
        for scope, table in zip(scopes, tables, strict=True)
    )
    elimination = Elimination(sizes, scopes)

    total, best = elimination.maximise(tables)
    each = elimination.maximise_each(tables)

    assert np.isclose(total, sums.max())
    assert np.isclose(sums[np.flatnonzero((every == best).all(axis=1))[0]], total)
    for variable, found in enumerate(each):
        if any(variable in scope for scope in scopes):
            wanted = [sums[every[:, variable] == i].max() for i in range(sizes[variable])]
            np.testing.assert_allclose(found, wanted)
        else:
            assert found is None


def test_a_chain_costs_pairs_and_a_clique_everything():
    chain = Elimination([8] * 50, [(i, i + 1) for i in range(49)])
    assert chain.n_cells < 50 * 64 + 1
    clique = Elimination([8] * 50, list(itertools.combinations(range(50), 2)))
    assert clique.n_cells > 1e40
