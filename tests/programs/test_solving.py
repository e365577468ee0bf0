"""The solver finds what enumeration finds, and says honestly what it has proven."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import SolverError
from dpod_search.programs import Limit
from dpod_search.programs import WidthProgram
from dpod_search.programs import solve_program
from dpod_search.programs import solving
from dpod_search.programs.mixed_integer import Answer
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


@st.composite
def programs(draw: st.DrawFn) -> WidthProgram:
    """Draw a program small enough to enumerate, with blocks, blocks in blocks, and limits."""
    n_blocks = draw(st.integers(0, 3))
    n_rungs = (
        *(2 for _ in range(n_blocks)),
        *draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)),
    )
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = draw(st.booleans())
    limits = []
    for i in range(draw(st.integers(0, 2))):
        sums = tuple(
            draw_sum(draws, n_rungs, n_blocks, whole=whole, low=0)
            for _ in range(draw(st.integers(1, 3)))
        )
        every = list_choices(n_rungs)
        costs = np.max([each.at(every) for each in sums], axis=0)
        share = draw(st.floats(0.0, 1.1))
        at = costs.min() + share * (costs.max() - costs.min()) - draw(st.sampled_from([0, 0, 0.5]))
        # Exactly the cost of some choice, often.
        exact = np.sort(costs)[int(min(share, 1) * (len(costs) - 1))]
        limits.append(Limit(f"cost{i}", sums, max(float(draw(st.sampled_from([at, exact]))), 0.0)))
    value = draw_sum(draws, n_rungs, n_blocks, whole=whole, low=draw(st.sampled_from([0, -5])))
    fixed = {0: draw(st.integers(0, n_rungs[0] - 1))} if draw(st.integers(0, 4)) == 0 else {}
    return WidthProgram(n_rungs, value, tuple(limits), fixed)


def draw_sum(draws, n_rungs, n_blocks, *, whole, low):
    terms = []
    for _ in range(int(draws.integers(1, 6))):
        n = int(draws.integers(0, min(4, len(n_rungs) + 1)))
        groups = tuple(sorted(map(int, draws.choice(len(n_rungs), n, replace=False))))
        blocks = tuple(b for b in range(n_blocks) if draws.random() < 0.4)
        shape = tuple(n_rungs[g] for g in groups)
        table = draws.integers(low, 12, shape) if whole else draws.uniform(low, 12, shape)
        terms.append(TableTerm(groups, np.asarray(table, dtype=float), blocks))
    return TableSum(tuple(terms))


def list_choices(n_rungs):
    return np.array(list(itertools.product(*map(range, n_rungs))))


def enumerate_best(program):
    every = list_choices(program.n_rungs)
    is_within = np.ones(len(every), dtype=bool)
    for group, rung in program.fixed.items():
        is_within &= every[:, group] == rung
    for limit in program.limits:
        is_within &= np.max([each.at(every) for each in limit.sums], axis=0) <= limit.limit
    return program.value.at(every)[is_within].max(initial=-math.inf)


def check(program):
    best = enumerate_best(program)
    if best == -math.inf:
        with pytest.raises(InfeasibleError):
            solve_program(program)
        return
    solution = solve_program(program)
    assert solution.is_proven
    assert solution.value == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert best - 1e-9 <= solution.bound <= best + 1e-8 * abs(best) + 1e-9
    rungs = np.array(solution.rungs)
    assert program.value.at(rungs[None])[0] == solution.value
    for limit in program.limits:
        assert solution.costs[limit.name] == limit.measure(rungs) <= limit.limit
    assert all(solution.rungs[group] == rung for group, rung in program.fixed.items())


@settings(max_examples=250, deadline=None)
@given(programs())
def test_it_finds_what_enumeration_finds(program):
    check(program)


@settings(max_examples=150, deadline=None)
@given(programs())
def test_the_solver_alone_finds_it_too(program):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solving, "MAX_CELLS", 0)
        check(program)


@settings(max_examples=100, deadline=None)
@given(programs())
def test_branching_finds_it_too(program):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solving, "NARROW", 0.0)
        patch.setattr(solving, "MIN_SHARED", 0)
        check(program)


def chain(n_groups=12, n_rungs=6, share=0.5, scale=1.0):
    """A chain of layers with noise in values and costs, too many choices to enumerate."""
    draws = np.random.default_rng(3)
    values, costs = [], []
    for g in range(n_groups):
        value = np.sort(draws.integers(1, 10**5, n_rungs)).astype(float) * scale
        values.append(TableTerm((g,), value))
        if g:
            cost = np.outer(np.arange(1, n_rungs + 1), np.arange(1, n_rungs + 1)) * 100.0
            costs.append(TableTerm((g - 1, g), cost + draws.integers(0, 50, cost.shape)))
    full = sum(term.table[-1, -1] for term in costs)
    limit = Limit("latency_us", (TableSum(tuple(costs)),), share * full)
    return WidthProgram((n_rungs,) * n_groups, TableSum(tuple(values)), (limit,))


def test_whole_numbers_and_the_same_scaled_have_the_same_answer():
    whole, scaled = solve_program(chain()), solve_program(chain(scale=math.pi * 1e-7))
    assert whole.is_proven
    assert whole.bound == whole.value
    assert whole.gap == 0
    assert scaled.is_proven
    assert scaled.rungs == whole.rungs


def test_more_budget_never_keeps_less():
    values = [solve_program(chain(share=share)).value for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert values == sorted(values)
    assert values[-1] == sum(term.table[-1] for term in chain().value.terms)


def test_an_allowed_gap_is_kept_and_stated():
    exact = solve_program(chain())
    rough = solve_program(chain(), gap=0.05)
    assert rough.value <= exact.value <= rough.bound
    assert rough.gap <= 0.05 + 1e-9


def test_what_is_out_of_reach_is_named_with_what_can_be_reached():
    program = chain(share=0.0)
    least = float(program.limits[0].measure(np.zeros(12, dtype=np.int64)))
    with pytest.raises(InfeasibleError, match=f"latency_us <= 0.*is {least:,.0f}"):
        solve_program(program)


def test_limits_that_only_exclude_each_other_are_said_to():
    up, down = np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 0.0])
    limits = tuple(
        Limit(name, (TableSum((TableTerm((0,), table),)),), 0.5)
        for name, table in (("first", up), ("second", down))
    )
    with pytest.raises(InfeasibleError, match=r"together.*first 2 \(limit 0.5\)"):
        solve_program(WidthProgram((3,), TableSum(()), limits))


def test_a_time_out_without_an_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(solving, "NO_TIME", 10.0)
    with pytest.raises(SolverError, match="more seconds"):
        solve_program(chain(), seconds=1)


def test_a_time_out_with_an_answer_states_its_gap(monkeypatch):
    # Nothing is finished: the relaxation alone gives an answer and a bound.
    monkeypatch.setattr(
        solving, "solve_factored", lambda factored, *, at_most, **_: Answer(None, at_most)
    )
    exact_value = enumerate_chain()
    solution = solve_program(chain(5))
    assert not solution.is_proven
    assert 0 < solution.gap < 1
    assert solution.value <= exact_value <= solution.bound


def enumerate_chain():
    return enumerate_best(chain(5))


def test_a_limit_that_is_met_exactly_is_met():
    program = chain(6)
    best = solve_program(program)
    tight = Limit("latency_us", program.limits[0].sums, best.costs["latency_us"])
    again = solve_program(WidthProgram(program.n_rungs, program.value, (tight,)))
    assert again.value == best.value


def test_a_removed_block_takes_its_groups_to_their_narrowest():
    # Group 0 is a block, group 1 is inside, group 2 outside.
    value = TableSum(
        (TableTerm((1,), np.array([1.0, 2.0, 3.0]), (0,)), TableTerm((2,), np.array([5.0, 9.0])))
    )
    cost = TableSum(
        (TableTerm((1, 2), np.full((3, 2), 10.0), (0,)), TableTerm((2,), np.array([1.0, 4.0])))
    )
    solved = solve_program(WidthProgram((2, 3, 2), value, (Limit("cost", (cost,), 8.0),)))
    assert solved.rungs == (0, 0, 1)
    assert solved.costs == {"cost": 4.0}
    free = solve_program(WidthProgram((2, 3, 2), value))
    assert free.rungs == (1, 2, 1)


TERM = TableTerm((0,), np.arange(3.0))


@pytest.mark.parametrize("limit", [math.nan, math.inf, -1.0])
def test_a_limit_is_a_number(limit):
    with pytest.raises(ConfigError, match="limit of macs must be >= 0"):
        WidthProgram((3,), TableSum((TERM,)), (Limit("macs", (TableSum((TERM,)),), limit),))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (TableTerm((0,), np.array([0.0, math.nan, 1.0])), "value has a table with NaN"),
        (TableTerm((0,), np.array([0.0, math.inf, 1.0])), "value has a table with NaN"),
        (TableTerm((0,), np.zeros(2)), "shape"),
        (TableTerm((7,), np.zeros(3)), "not there"),
        (TableTerm((), np.array(1.0), (0,)), "other than two rungs"),
    ],
)
def test_a_table_fits_its_groups(term, message):
    with pytest.raises(ConfigError, match=message):
        WidthProgram((3,), TableSum((term,)))


def test_a_table_too_large_to_solve_is_refused():
    table = np.zeros((30, 30, 30))
    with pytest.raises(ConfigError, match="27,000 cells.*allow fewer rungs"):
        WidthProgram((30, 30, 30), TableSum((TableTerm((0, 1, 2), table),)))


def test_a_fixed_rung_is_one_that_is_there():
    with pytest.raises(ConfigError, match="rung 3 of group 0"):
        WidthProgram((3,), TableSum((TERM,)), (), {0: 3})
