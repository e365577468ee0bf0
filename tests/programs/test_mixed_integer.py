from __future__ import annotations

import math
import time

import numpy as np
from scipy.optimize import OptimizeResult

from dpod_search.programs import Limit
from dpod_search.programs import WidthProgram
from dpod_search.programs import mixed_integer
from dpod_search.programs.mixed_integer import solve_parts
from dpod_search.programs.parts import put_together
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


def solve():
    rng = np.random.default_rng(0)
    value = TableSum.of([TableTerm((g,), np.cumsum(rng.random(4))) for g in range(3)])
    cost = TableSum.of([TableTerm((g, g + 1), rng.random((4, 4))) for g in range(2)])
    parts = put_together(WidthProgram((4, 4, 4), value, (Limit("cost", (cost,), 0.6),)))
    deadline = time.monotonic() + 60
    return solve_parts(
        parts, at_least=-math.inf, at_most=math.inf, step=0.0, gap=0.0, deadline=deadline
    )


def test_where_the_solver_breaks_off_its_presolve_is_left_out(monkeypatch):
    expected = solve()
    assert expected.places is not None
    tried = []

    def break_off(costs, *, options, **program):
        tried.append(options.get("presolve", True))
        if tried[-1]:
            # As HiGHS did with a program of seven groups and a modelled latency.
            return OptimizeResult(status=4, x=None, fun=None, mip_dual_bound=None)
        return milp(costs, options=options, **program)

    milp = mixed_integer.milp
    monkeypatch.setattr(mixed_integer, "milp", break_off)
    found = solve()
    assert np.array_equal(found.places, expected.places)
    assert abs(found.bound - expected.bound) < 1e-6
    assert tried == [True, False]
