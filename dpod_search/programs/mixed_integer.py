"""What is left of a program goes to HiGHS, by ``scipy.optimize.milp``.

HiGHS is exact within tolerances (1e-6 in a row and in an integer). Rows and values are scaled so
that these are far below one unit, and every answer is looked at again in exact sums: one that is
beyond a limit after all is excluded, and the rest solved again.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds
from scipy.optimize import LinearConstraint
from scipy.optimize import OptimizeResult
from scipy.optimize import milp
from scipy.sparse import csr_array
from scipy.sparse import hstack

from dpod_search.programs.factors import VALUE
from dpod_search.programs.factors import FactoredProgram
from dpod_search.programs.linear import LinearProgram
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray


SCALE = 1e3  # the largest coefficient of a row: 1e-6 is then 1e-9 of it
N_EXCLUDED = 50
_SOLVED, _INFEASIBLE, _FAILED = 0, 2, 4


@dataclass(frozen=True, eq=False)
class Answer:
    """What the solver says of a program.

    Args:
        places: Indices into the rungs left, within every limit, shape (n_groups,), or None.
        bound: Nothing within the limits has a larger value; -inf if nothing is within them.
    """

    places: IntArray | None
    bound: float


def solve_factored(
    factored: FactoredProgram,
    *,
    at_least: float,
    at_most: float,
    step: float,
    gap: float,
    deadline: float,
) -> Answer:
    """Find the best choice.

    Args:
        factored: The program.
        at_least: Choices of less value are of no interest; may be -inf.
        at_most: No choice has a larger value; may be inf.
        step: Values differ by no less than this; 0 if that is not known.
        gap: Nearer than this, as a share of the value, a bound need not be.
        deadline: By ``time.monotonic()``.
    """
    if not any(len(rungs) > 1 for rungs in factored.allowed) or not factored.factors:
        places = np.zeros(len(factored.sizes), dtype=np.int64)
        return _answer_only(factored, places)
    program = LinearProgram(factored)
    value = program.express(VALUE)
    # Values and their bounds are read off relative to this.
    unit = step if step > 0 else max(np.abs(value).sum(), 1e-300) / 1e6
    constraints = [program.structure, *_limit_rows(factored, program)]
    if np.isfinite(at_least):
        # Half a step, or what counts as a proof, is then ten times the tolerance of a row.
        large = 5e4 * step if step > 0 else 1e2 * unit
        least = at_least - factored.constants[VALUE] - 0.5 * step
        constraints.append(LinearConstraint(value[None] / large, least / large, np.inf))
    bound = at_most
    options = {"mip_rel_gap": max(gap, _find_share(factored, step))}
    for _ in range(N_EXCLUDED):
        options["time_limit"] = max(deadline - time.monotonic(), 0.01)
        solved = _solve(
            -value / unit,
            integrality=program.integrality,
            bounds=program.bounds,
            constraints=constraints,
            options=options,
        )
        bound = min(bound, _read_bound(solved) * unit + factored.constants[VALUE])
        if solved.x is None:
            return Answer(None, bound)
        places = program.read(solved.x)
        if factored.is_within(places):
            return Answer(places, bound)
        if time.monotonic() > deadline:
            break
        constraints.append(program.exclude(places))
    return Answer(None, bound)


def minimise_largest(
    factored: FactoredProgram, rows: Sequence[int], deadline: float
) -> float | None:
    """Return the least that the largest of some rows can be; None if unknown or out of reach.

    Args:
        factored: The program; the limits of these rows are ignored, those of others kept.
        rows: The rows.
        deadline: By ``time.monotonic()``.
    """
    if not factored.factors:
        others = np.delete(np.arange(len(factored.limits)), rows)
        is_within = np.all(factored.constants[others] <= factored.limits[others])
        return float(factored.constants[list(rows)].max()) if is_within else None
    program = LinearProgram(factored)
    n = program.n_variables
    unit = max(*(np.abs(program.express(row)).max(initial=0.0) for row in rows), 1e-300) / SCALE
    constraints = [
        _widen(each) for each in (program.structure, *_limit_rows(factored, program, rows))
    ]
    for row in rows:
        beyond = np.append(program.express(row) / unit, -1.0)[None]
        constraints.append(LinearConstraint(beyond, -np.inf, -factored.constants[row] / unit))
    solved = _solve(
        np.append(np.zeros(n), 1.0),  # the largest of the rows, in units
        integrality=np.append(program.integrality, 0),
        bounds=Bounds(np.append(np.zeros(n), -np.inf), np.append(np.ones(n), np.inf)),
        constraints=constraints,
        options={"time_limit": max(deadline - time.monotonic(), 0.1), "mip_rel_gap": 0.0},
    )
    if solved.x is None:
        return None
    return float(factored.measure(program.read(solved.x[:-1]))[list(rows)].max())


def _solve(costs: FloatArray, *, options: dict[str, Any], **program: Any) -> OptimizeResult:
    """Solve, once more in another way where HiGHS breaks off with an error of its own."""
    with silent_stdout():
        solved = milp(costs, options=options, **program)
    # Its presolve now and then leaves something that its simplex cannot solve.
    if solved.status == _FAILED and solved.x is None:
        with silent_stdout():
            solved = milp(costs, options={**options, "presolve": False}, **program)
    return solved


def find_step(tables: Sequence[FloatArray]) -> float:
    """Return by how much sums of one cell of each table differ at least; 0 if that is not known.

    Args:
        tables: If they hold whole numbers only, sums differ by multiples of their common divisor.
    """
    cells = np.concatenate([np.ravel(table) for table in tables]) if tables else np.zeros(0)
    if not np.array_equal(cells, np.rint(cells)) or np.abs(cells).sum() > 2**52:
        return 0.0
    return float(np.gcd.reduce(np.abs(cells).astype(np.int64), initial=0)) or 1.0


def _answer_only(factored: FactoredProgram, places: IntArray) -> Answer:
    # Nothing is left to choose.
    is_within = factored.is_within(places)
    value = float(factored.constants[VALUE])
    return Answer(places, value) if is_within else Answer(None, -np.inf)


def _limit_rows(
    factored: FactoredProgram, program: LinearProgram, but: Sequence[int] = ()
) -> list[LinearConstraint]:
    found = []
    for row in range(1, len(factored.limits)):
        if row in but:
            continue
        costs = program.express(row)
        room = factored.limits[row] - factored.constants[row]
        step = find_step([p.tables[row] for p in factored.factors if row in p.tables])
        if step > 0:
            # Costs are multiples of the step: halfway to the next one, rounding decides nothing.
            room = (np.floor(room / step) + 0.4) * step
        unit = max(np.abs(costs).max(initial=0.0), 1e-300) / SCALE
        if np.any(costs) or room < 0:
            found.append(LinearConstraint(costs[None] / unit, -np.inf, max(room / unit, -1e9)))
    return found


def _find_share(factored: FactoredProgram, step: float) -> float:
    # A bound nearer than half a step proves as much as an equal one.
    tables = [factor.tables[VALUE] for factor in factored.factors if VALUE in factor.tables]
    most = sum(float(np.abs(table).max()) for table in tables)
    return 0.4 * step / max(most, step, 1e-300)


def _read_bound(solved: OptimizeResult) -> float:
    if solved.status == _INFEASIBLE:
        return -np.inf
    if solved.status == _SOLVED and solved.mip_dual_bound is None:
        return -float(solved.fun)
    return np.inf if solved.mip_dual_bound is None else -float(solved.mip_dual_bound)


def _widen(constraint: LinearConstraint) -> LinearConstraint:
    matrix = csr_array(constraint.A)
    extra = csr_array((matrix.shape[0], 1))
    return LinearConstraint(hstack([matrix, extra], format="csr"), constraint.lb, constraint.ub)


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Let nothing that is written to file descriptor 1 inside the block come out.

    HiGHS leaves a line of its debugging there now and then, whatever it is told to print, and it
    would stand in the middle of what a command prints as JSON.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):  # there is none, or it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        _flush_c()
        os.dup2(nowhere, 1)
        yield
    finally:
        _flush_c()  # what C has buffered would come out later
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush_c() -> None:
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL("msvcrt") if os.name == "nt" else ctypes.CDLL(None)
        library.fflush(None)
