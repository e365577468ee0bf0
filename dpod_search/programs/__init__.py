"""The width program: widths and blocks that keep most value within budgets, solved exactly."""

from __future__ import annotations

from dpod_search.programs.program import Limit
from dpod_search.programs.program import ProgramSolution
from dpod_search.programs.program import WidthProgram
from dpod_search.programs.solving import solve_program
from dpod_search.programs.within import BudgetSolution
from dpod_search.programs.within import WidthTables
from dpod_search.programs.within import solve_budget


__all__ = [
    "BudgetSolution",
    "Limit",
    "ProgramSolution",
    "WidthProgram",
    "WidthTables",
    "solve_budget",
    "solve_program",
]
