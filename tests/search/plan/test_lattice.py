from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import ChainTable
from search.fakes import make_space
from search.fakes import make_task
from strategies import width_spaces
from strategies import widths_of

from dpod_search.errors import ConfigError
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search.plan.lattice import Lattice
from dpod_search.widths import WidthSpace


# As deep as blocks go: one inside the other, a group in each, and a group outside.
BLOCKS = WidthSpace(
    ("stem", "outer", "inner", "a", "b"),
    ((4, 8, 16), (0, 1), (0, 1), (2, 4), (3, 6, 9)),
    inside=(("outer", ("inner", "a")), ("inner", ("b",))),
)


def sum_widths(widths):
    return float(sum(widths.active))


def measure_depth(widths):
    return float(sum(width > 4 for width in widths.active))


OWN = Objective("sum", "minimize", sum_widths, "footprint")
DEPTH = Objective("depth", "maximize", measure_depth, "footprint")


def draw_rungs(space, n=30):
    return np.random.default_rng(0).integers(space.n_rungs, size=(n, len(space.names)))


@given(width_spaces().flatmap(lambda s: st.tuples(st.just(s), st.lists(widths_of(s)))))
def test_widths_and_rungs_are_each_others_inverse(example):
    space, many = example
    lattice = Lattice(make_task(space))
    rungs = lattice.from_widths(many)
    assert rungs.shape == (len(many), len(space.names))
    assert [lattice.to_widths(row) for row in rungs] == many
    assert np.all((rungs >= 0) & (rungs < lattice.sizes))
    expected = np.reshape([w.active for w in many], rungs.shape)
    np.testing.assert_array_equal(lattice.to_active(rungs), expected)


@pytest.mark.parametrize("footprint", [ChainFootprint(), ChainTable()])
@pytest.mark.parametrize("own", [(), (OWN, DEPTH)])
def test_many_subnets_are_measured_as_one_by_one(footprint, own):
    objectives = (ACCURACY, Macs(), *own)
    task = replace(make_task(objectives=objectives[:2]), footprint=footprint)
    task = replace(task, objectives=objectives)
    lattice, rungs = Lattice(task), draw_rungs(task.space)
    found = lattice.measure(rungs)
    expected = [task.measure_footprint(lattice.to_widths(row)) for row in rungs]
    assert list(found) == list(expected[0])
    for name, column in found.items():
        assert column.dtype == float
        assert column.tolist() == [footprint[name] for footprint in expected]
    assert all(column.shape == (0,) for column in lattice.measure(rungs[:0]).values())


def test_a_table_is_asked_once_and_no_subnet_by_itself():
    def refuse(widths):
        raise AssertionError("measured by itself")

    calls = []
    table = ChainTable().table
    task = replace(make_task(), footprint=ChainTable())
    fake = SimpleNamespace(measure=refuse, table=lambda a: calls.append(len(a)) or table(a))
    lattice = Lattice(task)
    object.__setattr__(task, "footprint", fake)
    lattice.measure(draw_rungs(task.space, 7))
    assert calls == [7]


def test_an_objective_that_returns_no_number_is_the_users_error():
    own = Objective("own", "minimize", lambda widths: "much", "footprint")
    lattice = Lattice(make_task(objectives=(ACCURACY, own)))
    with pytest.raises(ConfigError, match="objective own must return a number"):
        lattice.measure(np.zeros((1, 4), dtype=np.int64))


def test_feasible_rows_are_those_the_task_says_are_within_every_exact_bound():
    constraints = {"macs": "<= 50%", "depth": ">= 4", "accuracy": ">= 0.99"}
    task = make_task(constraints=constraints, objectives=(ACCURACY, Macs(), DEPTH))
    lattice, rungs = Lattice(task), draw_rungs(task.space, 200)
    found = lattice.are_feasible(rungs)
    assert found.tolist() == [task.is_feasible(lattice.to_widths(row)) for row in rungs]
    # Each bound excludes some that the other admits; the measured one is not asked.
    measured = lattice.measure(rungs)
    is_small = measured["macs"] <= task.bounds.exact.bounds[0].limit
    is_deep = measured["depth"] >= 4
    assert np.any(found)
    assert np.any(is_small & ~is_deep)
    assert np.any(is_deep & ~is_small)
    assert found.tolist() == (is_small & is_deep).tolist()
    assert lattice.are_feasible(rungs[:0]).shape == (0,)


def test_without_bounds_all_is_feasible():
    lattice = Lattice(make_task())
    assert lattice.are_feasible(draw_rungs(make_space(), 5)).tolist() == [True] * 5


def test_rows_of_the_same_subnet_become_the_same_row():
    lattice, rungs = Lattice(make_task(BLOCKS)), draw_rungs(BLOCKS, 300)
    found = lattice.canonicalize(rungs)
    expected = [BLOCKS.canonical(lattice.to_widths(row)) for row in rungs]
    assert [lattice.to_widths(row) for row in found] == expected
    np.testing.assert_array_equal(lattice.canonicalize(found), found)
    # Without the outer block three rungs of the stem are left; with it a has two, and b three if
    # the inner one is there, else none: 3 + 3 * 2 * (3 + 1).
    assert len(np.unique(found, axis=0)) == 27
