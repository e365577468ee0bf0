"""The width program as a proposer: a ladder of budgets, each answered by the best widths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from search.fakes import make_space
from search.fakes import make_tables
from search.fakes import make_task

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.programs import WidthTables
from dpod_search.programs import solve_budget
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import propose_seeds
from dpod_search.search.constraints import read_budget
from dpod_search.search.seeds import mdp
from dpod_search.search.seeds.mdp import propose_mdp
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.widths import WidthSpace


def request(n_mdp=4, space=None, tables=True, **task):
    space = space or make_space()
    return ProposalRequest(
        make_task(space, **task),
        SearchSettings(n_ladder=0, n_mdp=n_mdp),
        (),
        make_tables(space) if tables else None,
    )


def test_it_proposes_a_ladder_of_the_best_widths():
    asked = request()
    proposals = propose_mdp(asked)
    macs = [asked.task.measure_footprint(p.widths)["macs"] for p in proposals]
    assert {p.source for p in proposals} == {"mdp"}
    assert len(proposals) == 4
    assert macs == sorted(macs, reverse=True)
    ends = [
        asked.task.measure_footprint(w)["macs"]
        for w in (asked.task.space.full, asked.task.space.smallest)
    ]
    budgets = np.geomspace(*ends, 6)[1:-1]
    assert np.all(np.array(macs) <= budgets)
    # A budget is used up: a chain of eighths has a subnet within a few hundredths of any cost.
    assert np.all(np.array(macs) > 0.9 * budgets)


def test_what_it_proposes_is_best_by_enumeration():
    space = make_space(3, 4)
    asked = request(3, space=space)
    every = np.array(list(itertools.product(*map(range, space.n_rungs))))
    macs, value = asked.tables.costs["macs"][0].at(every), asked.tables.value.at(every)
    for proposal, budget in zip(
        propose_mdp(asked), np.geomspace(macs.max(), macs.min(), 5)[1:-1], strict=True
    ):
        found = asked.tables.value.at([space.to_rungs(proposal.widths)])[0]
        assert found == pytest.approx(value[macs <= budget].max(), rel=1e-9)


def test_without_tables_or_budgets_it_proposes_nothing():
    assert propose_mdp(request(tables=False)) == []
    assert propose_mdp(request(0)) == []


def test_seeds_of_the_program_join_the_others():
    sources = [seed.source for seed in propose_seeds(request(2))]
    assert sources == ["mdp", "mdp"]


def test_the_constraints_of_the_task_are_kept():
    asked = request(6, constraints={"params": "<= 30%", "macs": "<= 50%"})
    proposals = propose_mdp(asked)
    assert proposals
    assert all(asked.task.is_feasible(p.widths) for p in proposals)


def test_budgets_out_of_reach_are_skipped(monkeypatch):
    asked = request(3)
    solved = []

    def refuse_first(*arguments, **options):
        solved.append(1)
        if len(solved) == 1:
            raise InfeasibleError("out of reach")
        return solve_budget(*arguments, **options)

    monkeypatch.setattr(mdp, "solve_budget", refuse_first)
    assert len(propose_mdp(asked)) == 2


def test_one_budget_is_solved_as_it_is_spelled():
    space = make_space()
    task, tables = make_task(space), make_tables(space)
    full = task.measure_footprint(space.full)
    bounds = read_budget("macs<=50% and params<=2k", full, task.objectives)
    found = solve_budget(space, tables, bounds, seconds=10)
    footprint = task.measure_footprint(found.widths)
    assert footprint["macs"] <= 0.5 * full["macs"]
    assert footprint["params"] <= 2000
    assert found.solution.is_proven
    assert found.solution.costs == {name: footprint[name] for name in ("macs", "params")}


def test_what_the_tables_do_not_know_is_an_error():
    space = make_space()
    task, tables = make_task(space), make_tables(space)
    full = task.measure_footprint(space.full)
    with pytest.raises(ConfigError, match="no table of weight_bytes; it knows macs, params"):
        solve_budget(space, tables, read_budget("weight_bytes<=1k", full, task.objectives))
    with pytest.raises(ConfigError, match="upper bounds, got accuracy"):
        known = WidthTables(tables.value, {**tables.costs, "accuracy": tables.costs["macs"]})
        solve_budget(space, known, read_budget("accuracy>=0.9", full, task.objectives))
    with pytest.raises(InfeasibleError, match="macs <= 1: the smallest that can be reached"):
        solve_budget(space, tables, read_budget("macs<=1", full, task.objectives))


def test_widths_inside_removed_blocks_are_canonical():
    space = WidthSpace.from_ratios(
        {"stem": 8, "block": 1, "inner": 8}, [0.5], blocks=["block"], inside={"block": ["inner"]}
    )
    cost = TableSum(
        (TableTerm((0,), np.array([1.0, 2.0])), TableTerm((0, 2), np.full((2, 2), 5.0), (1,)))
    )
    value = TableSum(
        (TableTerm((0,), np.array([1.0, 2.0])), TableTerm((2,), np.array([1.0, 2.0]), (1,)))
    )
    tables = WidthTables(value, {"macs": (cost,)})
    bounds = read_budget("macs<=2", {"macs": 7.0}, ())
    assert dict(solve_budget(space, tables, bounds).widths) == {"stem": 8, "block": 0, "inner": 4}
