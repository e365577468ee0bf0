from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from dpod_search.programs import Limit
from dpod_search.programs import WidthProgram
from dpod_search.programs import mixed_integer
from dpod_search.programs.factors import factor_program
from dpod_search.programs.mixed_integer import silent_stdout
from dpod_search.programs.mixed_integer import solve_factored
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


def solve():
    rng = np.random.default_rng(0)
    value = TableSum.of([TableTerm((g,), np.cumsum(rng.random(4))) for g in range(3)])
    cost = TableSum.of([TableTerm((g, g + 1), rng.random((4, 4))) for g in range(2)])
    factored = factor_program(WidthProgram((4, 4, 4), value, (Limit("cost", (cost,), 0.6),)))
    deadline = time.monotonic() + 60
    return solve_factored(
        factored, at_least=-math.inf, at_most=math.inf, step=0.0, gap=0.0, deadline=deadline
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


with_c = pytest.mark.skipif(os.name == "nt", reason="C's puts is looked for in the process")


@with_c
def test_what_c_prints_inside_does_not_come_out(capfd):
    c = ctypes.CDLL(None)
    c.puts(b"before")
    with silent_stdout():
        c.puts(b"inside")
        os.write(1, b"inside too\n")
    c.puts(b"after")
    c.fflush(None)

    assert capfd.readouterr().out == "before\nafter\n"


@with_c
def test_it_comes_back_after_an_error(capfd):
    with pytest.raises(RuntimeError), silent_stdout():
        raise RuntimeError
    os.write(1, b"after\n")

    assert capfd.readouterr().out == "after\n"


@with_c
def test_a_process_without_standard_output_does_not_mind():
    code = (
        "import os\n"
        "from dpod_search.programs.mixed_integer import silent_stdout\n"
        "os.close(1)\n"
        "with silent_stdout():\n"
        "    pass\n"
        "os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
