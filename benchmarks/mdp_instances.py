"""How soon the width program is solved to proven optimality, and whether the optimum is right.

``python benchmarks/mdp_instances.py`` solves the 16 published problems (``--data-root``) and, with
``--synthetic``, problems like them for a ResNet-101; ``--instances FILE`` solves others of the same
form. It writes ``results/mdp_instances.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from mdp_problem import Drawing
from mdp_problem import draw_problem
from mdp_problem import make_program
from mdp_problem import read_problems
from provenance import describe_commit
from provenance import describe_machine

from dpod_search.errors import DpodSearchError
from dpod_search.errors import InfeasibleError
from dpod_search.programs import solve_program


HERE = Path(__file__).parent
RESULT = HERE / "results" / "mdp_instances.json"
SHARES = (0.9, 0.7, 0.5, 0.4, 0.3, 0.25)
SEEDS = (0, 1, 2)
LIMIT_S = 5.0


def solve_problem(problem: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Solve one problem and compare it with what is known of it."""
    begin, cpu = time.perf_counter(), time.process_time()
    program = make_program(problem)
    row: dict[str, Any] = {
        "instance": problem["instance"],
        "model": problem["model"],
        "n_groups": len(problem["groups"]),
        "n_layers": len(problem["layers"]),
        "budget_us": problem["capacity_us"],
        "budget_share": problem["capacity_us"] / problem["full_latency_us"],
    }
    try:
        solution = solve_program(program, seconds=seconds)
    except InfeasibleError as error:
        return row | {"infeasible": str(error), "cpu_s": time.process_time() - cpu}
    latency = program.limits[0].measure(np.array(solution.rungs))
    n_groups = len(problem["groups"])
    row |= {
        "value": solution.value,
        "bound": solution.bound,
        "is_proven": solution.is_proven,
        "latency_us": latency,
        "is_within": latency <= problem["capacity_us"],
        "keep": [rung + 1 for rung in solution.rungs[:n_groups]],
        "removed_blocks": [b for b, r in enumerate(solution.rungs[n_groups:], 1) if r == 0],
        "wall_s": time.perf_counter() - begin,
        "cpu_s": time.process_time() - cpu,
    }
    if "proven_optimum" in problem:
        row["optimum"] = problem["proven_optimum"]["importance"]
    if "published_solution" in problem:
        row["published"] = problem["published_solution"]["importance"]
    return row


def draw_problems() -> list[dict[str, Any]]:
    """Draw ResNet-101 as it is, with pruned groups, and with twice as many rungs."""
    kinds = ({}, {"is_pruned": True}, {"fineness": 2})
    names = ("as published", "pruned before", "twice the rungs")
    return [
        draw_problem(Drawing(seed, share, **kind)) | {"instance": f"{name}, seed {seed}"}  # type: ignore[arg-type]
        for name, kind in zip(names, kinds, strict=True)
        for seed in SEEDS
        for share in SHARES
    ]


def write_row(row: dict[str, Any]) -> str:
    """Write a row of the table."""
    start = f"| {row['instance']} | {row['n_groups']} | {row['budget_us']:,} ({row['budget_share']:.0%})"
    if "infeasible" in row:
        return f"{start} | none | | | {row['cpu_s']:.2f} |"
    known = " / ".join(f"{row[name]:,}" for name in ("optimum", "published") if name in row)
    dropped = len(row["removed_blocks"])
    proof = "" if row["is_proven"] else f" (bound {row['bound']:,.0f})"
    return (
        f"{start} | {row['value']:,.0f}{proof} | {known} | {row['latency_us']:,.0f} | {dropped} | "
        f"{row['cpu_s']:.2f} | {row['wall_s']:.2f} |"
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Say whether everything that must hold does."""
    solved = [row for row in rows if "infeasible" not in row]
    seconds = [row["wall_s"] for row in solved]
    return {
        "n": len(rows),
        "n_proven": sum(row["is_proven"] for row in solved),
        "n_within": sum(row["is_within"] for row in solved),
        "n_equal_optimum": sum(row["value"] == row.get("optimum") for row in solved),
        "n_below_published": sum(row["value"] < row.get("published", 0) for row in solved),
        "median_s": statistics.median(seconds) if seconds else None,
        "max_s": max(seconds, default=None),
        "max_cpu_s": max((row["cpu_s"] for row in solved), default=None),
        "n_slower": sum(second > LIMIT_S for second in seconds),
    }


def solve_all(problems: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Solve problems one after another, and print each."""
    print("| instance | groups | budget (us) | value | optimum / published | latency | blocks removed "
          "| CPU (s) | wall (s) |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    rows = []
    for problem in problems:
        rows.append(solve_problem(problem, seconds))
        print(write_row(rows[-1]), flush=True)
    summary = summarise(rows)
    print(f"\n{json.dumps(summary)}\n")
    return {"summary": summary, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--instances", type=Path, help="a file of other problems, solved instead")
    parser.add_argument("--synthetic", action="store_true", help="also problems that are drawn")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each problem")
    options = parser.parse_args()
    file = options.instances or options.data_root / "mdp_instances.json.gz"
    try:
        result = {"published": solve_all(read_problems(file), options.seconds)}
    except DpodSearchError as error:
        parser.error(str(error))
    if options.synthetic:
        result["synthetic"] = solve_all(draw_problems(), options.seconds)
    if options.instances is None:
        about = {"commit": describe_commit(), "machine": describe_machine()}
        RESULT.write_text(json.dumps(about | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
