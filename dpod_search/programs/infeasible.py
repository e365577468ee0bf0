"""Saying why nothing is within the limits: which one is out of reach, and what can be reached."""

from __future__ import annotations

import time
from dataclasses import replace

from dpod_search.errors import InfeasibleError
from dpod_search.programs.factors import factor_program
from dpod_search.programs.mixed_integer import minimise_largest
from dpod_search.programs.program import WidthProgram
from dpod_search.quantities import in_own_unit
from dpod_search.tabulated import TableSum


def find_least(program: WidthProgram, name: str, *, seconds: float) -> float | None:
    """Return the smallest that the cost of a limit can be with the other limits kept.

    Args:
        program: The program.
        name: The limit, which is not kept itself.
        seconds: Wall seconds for it.

    Returns:
        None if the other limits are out of reach, or the time was over.
    """
    rows = []
    n_rows = 1
    for limit in program.limits:
        if limit.name == name:
            rows = list(range(n_rows, n_rows + len(limit.sums)))
        n_rows += len(limit.sums)
    valueless = replace(program, value=TableSum(()))
    return minimise_largest(factor_program(valueless), rows, time.monotonic() + seconds)


def explain_infeasible(program: WidthProgram, seconds: float) -> InfeasibleError:
    """Return the error for a program that nothing is within the limits of.

    Args:
        program: The program.
        seconds: Wall seconds for each question asked of it.
    """
    for limit in program.limits:
        alone = replace(program, limits=(limit,))
        least = find_least(alone, limit.name, seconds=seconds)
        if least is not None and least > limit.limit:
            return InfeasibleError(
                f"no widths have {limit.name} <= {in_own_unit(limit.name, limit.limit)}: the "
                f"smallest that can be reached is {in_own_unit(limit.name, least)}; raise the "
                "budget or allow narrower widths"
            )
    found = []
    for limit in program.limits:
        least = find_least(program, limit.name, seconds=seconds)
        if least is not None:
            found.append(
                f"{limit.name} {in_own_unit(limit.name, least)} "
                f"(limit {in_own_unit(limit.name, limit.limit)})"
            )
    reached = f": within the others the smallest is {' or '.join(found)}" if found else ""
    names = " and ".join(limit.name for limit in program.limits)
    return InfeasibleError(
        f"no widths meet the limits of {names} together, though each can be met alone{reached}; "
        "raise one of them"
    )
