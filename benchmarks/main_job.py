"""The main job over three seeds: what the finetuned front keeps of the full net's test accuracy.

Writes ``benchmarks/results/main_job.json``:

    python benchmarks/main_job.py

A budget's subnet is the finetuned member within it that is best on validation (the cheapest of
equals); the test split only reports.
"""

from __future__ import annotations

import json
import platform
import resource
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from dpod_search.config import load_study
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages


SEEDS = (0, 1, 2)
BUDGETS = (0.05, 0.10, 0.25, 0.50)
RESULTS = Path(__file__).resolve().parent / "results"


def run_seed(seed: int, folder: Path) -> dict[str, Any]:
    """Run digits with one seed and describe its front."""
    start = time.perf_counter()
    run_stages(load_study("digits", (f"seed={seed}",)), folder)
    seconds = time.perf_counter() - start
    front = read_json(folder / "front.json")
    search = read_json(folder / "search.json")
    members, full = front["members"], front["full"]
    lost = {}
    for budget in BUDGETS:
        within = [m for m in members if m["macs_share"] <= budget]
        best = max(within, key=lambda m: (m["validation_accuracy"], -m["macs"]))
        lost[f"{budget:.0%}"] = 100 * (full["test_accuracy"] - best["test_accuracy"])
    return {
        "seed": seed,
        "seconds": seconds,
        "full_test_accuracy": full["test_accuracy"],
        "n_members": len(members),
        "n_on_front_after_finetuning": sum(m["on_front"] for m in members),
        "smallest_macs_share": members[0]["macs_share"],
        "largest_macs_share": members[-1]["macs_share"],
        "points_lost": lost,
        "counts": search["counts"],
        "audit": search["audit"],
    }


def main() -> None:
    """Run every seed and write the results."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = [run_seed(seed, Path(scratch) / str(seed)) for seed in SEEDS]
    means = {
        f"{budget:.0%}": sum(run["points_lost"][f"{budget:.0%}"] for run in runs) / len(runs)
        for budget in BUDGETS
    }
    result = {
        "machine": {"processor": platform.machine(), "torch": metadata.version("torch")},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mean_points_lost": means,
        "runs": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "main_job.json").write_text(json.dumps(result, indent=1) + "\n")
    console = Console(width=160)
    for run in runs:
        console.print({key: run[key] for key in list(run)[:8]})
    console.print("mean points of test accuracy lost:", means)
    console.print(f"peak memory {result['peak_memory_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
