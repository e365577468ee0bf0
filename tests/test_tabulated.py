import numpy as np

from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.tabulated import add_tables


RUNGS = [[0, 0, 0], [1, 0, 1], [1, 2, 1]]


def test_a_term_is_looked_up_by_the_rungs_of_its_groups():
    table = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    assert TableSum.of([TableTerm((0, 1), table)]).at(RUNGS).tolist() == [1, 4, 6]


def test_a_term_in_a_removed_block_is_zero():
    assert TableSum.of([TableTerm((0,), np.array([1.0, 4.0]), (2,))]).at(RUNGS).tolist() == [
        0,
        4,
        4,
    ]


def test_a_constant_is_a_term_of_no_groups():
    assert TableSum.of([TableTerm((), np.array(3.0))]).at(RUNGS).tolist() == [3, 3, 3]


def test_parts_of_the_same_groups_and_blocks_become_one():
    one = TableTerm((0,), np.array([1.0, 4.0]))
    other = TableTerm((0,), np.array([1.0, 4.0]), (2,))

    found = add_tables([TableSum.of([one, other]), TableSum.of([one])])

    assert len(found.terms) == 2
    assert found.at(RUNGS).tolist() == [2, 12, 12]


def test_a_sum_of_nothing_is_zero():
    assert TableSum(()).at(RUNGS).tolist() == [0, 0, 0]


def test_scaling_multiplies_every_part():
    found = TableSum.of([TableTerm((0,), np.array([1.0, 4.0])), TableTerm((), np.array(3.0))])

    assert found.scale(2).at(RUNGS).tolist() == [8, 14, 14]
