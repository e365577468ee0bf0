"""The published problems have the published optima."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dpod_search.errors import DataError
from dpod_search.programs import solve_program


@pytest.fixture(scope="module")
def problems(import_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return import_benchmark("mdp_problem")


@pytest.mark.data
@pytest.mark.parametrize("instance", [11, 22])
def test_a_published_problem_is_solved_to_its_optimum(problems, data_root, instance):
    file = data_root / "mdp_instances.json.gz"
    if not file.exists():
        pytest.skip(f"no {file.name} in the folder of optional data")
    problem = next(p for p in problems.read_problems(file) if p["instance"] == instance)
    solution = solve_program(problems.make_program(problem))
    assert solution.is_proven
    assert solution.value == problem["proven_optimum"]["importance"]
    assert solution.value > problem["published_solution"]["importance"]
    assert solution.costs["latency_us"] == problem["proven_optimum"]["latency_us"]


def test_a_drawn_problem_is_solved_whatever_the_order_of_its_groups(problems):
    drawing = problems.Drawing(0, 0.75, depths=(1, 2, 1, 1))
    problem = problems.draw_problem(drawing)
    solution = solve_program(problems.make_program(problem))
    assert solution.is_proven
    assert solution.value < problem["full_importance"]
    # The same by the layers themselves.
    n = len(problem["groups"])
    keep = [rung + 1 for rung in solution.rungs[:n]]
    is_there = [True, *(rung == 1 for rung in solution.rungs[n:])]
    kept = [layer for layer in problem["layers"] if is_there[layer["block"]]]
    latency = sum(
        int(np.array(layer["lat_us"])[keep[layer["group"]]][keep[layer["pre_group"]]])
        for layer in kept
        if layer["pre_group"] is not None
    )
    latency += problem["layers"][0]["lat_us"][-1]
    assert solution.value == sum(layer["value"][keep[layer["group"]]] for layer in kept)
    assert solution.costs["latency_us"] == latency <= problem["capacity_us"]


def test_a_file_of_something_else_is_refused(problems, tmp_path: Path):
    file = tmp_path / "other.json"
    file.write_text(json.dumps([{"x": 1}]))
    with pytest.raises(DataError, match="capacity_us"):
        problems.read_problems(file)
    with pytest.raises(DataError, match="no problems"):
        problems.read_problems(tmp_path / "none.json")
