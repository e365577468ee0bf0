"""The widths that keep most within a budget, for a space of widths whose tables are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpod_search.bounds import Constraints
from dpod_search.errors import ConfigError
from dpod_search.programs.program import Limit
from dpod_search.programs.program import ProgramSolution
from dpod_search.programs.program import WidthProgram
from dpod_search.programs.solving import solve_program
from dpod_search.tabulated import TableSum
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


@dataclass(frozen=True, eq=False)
class WidthTables:
    """What a width program is made of.

    Args:
        value: What to keep most of, such as the importance of the units kept.
        costs: By name of a footprint, the sums of which the largest is that footprint.
    """

    value: TableSum
    costs: Mapping[str, tuple[TableSum, ...]]


@dataclass(frozen=True)
class BudgetSolution:
    """The best widths within a budget.

    Args:
        widths: The widths; groups inside removed blocks at their narrowest.
        solution: What is proven of them.
    """

    widths: Widths
    solution: ProgramSolution


def solve_budget(
    space: WidthSpace,
    tables: WidthTables,
    bounds: Constraints,
    *,
    seconds: float = 60.0,
    gap: float = 0.0,
) -> BudgetSolution:
    """Find the widths that keep most within a budget.

    Args:
        space: The space of widths.
        tables: Value and costs of its widths.
        bounds: The budget, as :func:`~dpod_search.search.constraints.read_budget` reads it.
        seconds: Wall seconds after which the best so far is returned, with its proven gap.
        gap: How far the bound may be above the value, as a share of it; 0 for a proof.

    Raises:
        ConfigError: If a bound is on what the tables do not know, is a lower one, or its limit is
            not known yet.
        InfeasibleError: If no widths are within the budget, naming what can be reached.
        SolverError: If the time was over before any were found.
    """
    limits = []
    for bound in bounds:
        if bound.name not in tables.costs:
            raise ConfigError(
                f"the width program has no table of {bound.name}; it knows {', '.join(tables.costs)}"
            )
        if bound.sense != "<=":
            raise ConfigError(
                f"the width program takes upper bounds, got {bound.name} {bound.text}"
            )
        if bound.limit is None:
            raise ConfigError(
                f"{bound.name} {bound.text} is a share of what the full net has yet to be measured "
                "at; resolve it first, or give a number"
            )
        limits.append(Limit(bound.name, tables.costs[bound.name], bound.limit))
    program = WidthProgram(space.n_rungs, tables.value, tuple(limits))
    solution = solve_program(program, seconds=seconds, gap=gap)
    return BudgetSolution(space.canonical(space.from_rungs(solution.rungs)), solution)
