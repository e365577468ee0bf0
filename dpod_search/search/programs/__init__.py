"""The width program: widths and blocks that keep most value within budgets, solved exactly."""

from __future__ import annotations

from dpod_search.search.programs.budget import BudgetSolution
from dpod_search.search.programs.budget import WidthTables
from dpod_search.search.programs.budget import solve_budget
from dpod_search.search.programs.program import Limit
from dpod_search.search.programs.program import ProgramSolution
from dpod_search.search.programs.program import WidthProgram
from dpod_search.search.programs.solving import solve_program


__all__ = [
    "BudgetSolution",
    "Limit",
    "ProgramSolution",
    "WidthProgram",
    "WidthTables",
    "solve_budget",
    "solve_program",
]
