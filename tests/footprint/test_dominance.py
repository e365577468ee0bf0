"""Sums that are left out are never the largest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from dpod_search.footprint.dominance import drop_dominated
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


N_RUNGS = (3, 2, 2, 2)  # the last two are blocks
EVERYWHERE = np.array(list(itertools.product(*map(range, N_RUNGS))))


def one(values: list[float], *blocks: int) -> TableTerm:
    return TableTerm((0,), np.array(values), blocks)


def constant(value: float, *blocks: int) -> TableTerm:
    return TableTerm((), np.array(value), blocks)


@st.composite
def sums(draw: st.DrawFn) -> TableSum:
    """Draw a sum of small whole numbers, in and out of blocks, negative ones too."""
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        groups = draw(st.sampled_from([(), (0,), (1,), (0, 1)]))
        blocks = draw(st.sampled_from([(), (), (2,), (3,), (2, 3)]))
        shape = tuple(N_RUNGS[group] for group in groups)
        values = draw(
            st.lists(
                st.integers(-1, 3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
            )
        )
        parts.append(TableTerm(groups, np.array(values, dtype=float).reshape(shape), blocks))
    return TableSum.of(parts)


@settings(max_examples=300)
@given(st.lists(sums(), min_size=1, max_size=6))
def test_the_largest_stays_the_largest(given_sums: list[TableSum]) -> None:
    # In a space this small many samples would settle all pairs, and nothing would be proven.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpod_search.footprint.dominance._N_SAMPLES", 2)
        kept = drop_dominated(given_sums)

    assert all(any(each is other for other in given_sums) for each in kept)
    np.testing.assert_array_equal(
        np.max([each.at(EVERYWHERE) for each in kept], axis=0),
        np.max([each.at(EVERYWHERE) for each in given_sums], axis=0),
    )


def test_of_equal_sums_one_is_kept() -> None:
    first, second = TableSum((one([1, 2, 3]),)), TableSum((one([1, 2, 3]),))

    assert drop_dominated([first, second]) == (first,)


def test_what_is_smaller_everywhere_is_left_out() -> None:
    upper = TableSum((one([2, 3, 4]), constant(1, 2)))
    lower = TableSum((one([1, 3, 4]),))

    assert drop_dominated([lower, upper]) == (upper,)


def test_what_is_larger_without_a_block_is_kept() -> None:
    upper = TableSum((one([2, 3, 4], 2),))
    lower = TableSum((one([1, 1, 1]),))

    assert drop_dominated([lower, upper]) == (lower, upper)


def test_sums_of_different_groups_are_compared_by_their_extremes() -> None:
    upper = TableSum((TableTerm((1,), np.array([4.0, 9.0])),))

    assert drop_dominated([TableSum((one([2, 3, 4]),)), upper]) == (upper,)
    assert len(drop_dominated([TableSum((one([2, 3, 5]),)), upper])) == 2


def test_a_difference_over_many_blocks_is_bounded_part_by_part() -> None:
    upper = TableSum(tuple(constant(1, block) for block in range(1, 9)))
    lower, neither = TableSum(()), TableSum((constant(0.5),))

    assert drop_dominated([upper, lower]) == (upper,)
    assert drop_dominated([upper, neither]) == (upper, neither)


def test_what_can_be_below_by_one_of_many_blocks_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpod_search.footprint.dominance._N_SAMPLES", 2)  # all blocks, or none
    upper = TableSum((constant(-2, 8), *(constant(1, block) for block in range(1, 8))))
    lower = TableSum(())

    assert drop_dominated([upper, lower]) == (upper, lower)
