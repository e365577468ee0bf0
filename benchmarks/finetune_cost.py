"""Finetuning several subnets side by side against one after the other, in one run.

    python benchmarks/finetune_cost.py --jobs 2

A supernet of digits is trained for a few epochs; eight subnets between the smallest and the full
net are finetuned by ``finetune_all`` with one process and with several, in turn, with one thread of
PyTorch each. The results must agree to the last bit. Writes ``benchmarks/results/finetune_cost.json``
and prints a table; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from policies import train
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from rich.table import Table
from workload import Prepared
from workload import make_workloads

from dpod_search.finetune import FinetunedSubnet
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import finetune_all
from dpod_search.supernet import Subnet
from dpod_search.training import TrainingSettings


N_SUBNETS = 8
N_ROUNDS = 3
RESULTS = ROOT / "benchmarks" / "results" / "finetune_cost.json"


def run_once(prepared: Prepared, n_jobs: int, epochs: int) -> tuple[float, list[FinetunedSubnet]]:
    """Finetune the subnets, and return the wall-clock seconds and the results."""
    space = prepared.supernet.space
    subnets = [
        Subnet(prepared.supernet, space.uniform(ratio))
        for ratio in np.linspace(1 / N_SUBNETS, 1, N_SUBNETS).tolist()
    ]
    start = time.perf_counter()
    found = finetune_all(
        subnets,
        prepared.loader,
        n_jobs=n_jobs,
        settings=FinetuneSettings(epochs=epochs),
        validation_loader=prepared.validation,
        calibration_images=prepared.calibration_images,
        seed=prepared.seed,
    )
    return time.perf_counter() - start, found


def check_same(results: list[list[FinetunedSubnet]]) -> None:
    """Raise unless all gave the same weights."""
    for subnets in zip(*results, strict=True):
        first, *others = (subnet.module.state_dict() for subnet in subnets)
        for other in others:
            if not all(torch.equal(first[name], other[name]) for name in first):
                raise AssertionError(f"{subnets[0].widths} ended with other weights")


def main() -> None:
    """Measure in turn, compare, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    workload = replace(make_workloads("cpu", "")["digits"], dense_epochs=5)
    prepared = workload.prepare(0)
    train(prepared, TrainingSettings().policy)
    jobs = (1, options.jobs)
    seconds: dict[int, list[float]] = {n: [] for n in jobs}
    for _ in range(N_ROUNDS):
        found = []
        for n in jobs:
            taken, subnets = run_once(prepared, n, options.epochs)
            seconds[n].append(taken)
            found.append(subnets)
        check_same(found)
    results: dict[str, Any] = {
        "n_subnets": N_SUBNETS,
        "epochs": options.epochs,
        "seconds": {str(n): taken for n, taken in seconds.items()},
        "speed_up": median(
            alone / beside for alone, beside in zip(*seconds.values(), strict=True)
        ),
        "machine": describe_machine(),
        "commit": describe_commit(),
    }
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    table = Table("processes", "seconds, median", "all rounds")
    for n, taken in seconds.items():
        table.add_row(str(n), f"{median(taken):.1f}", ", ".join(f"{s:.1f}" for s in taken))
    console = Console()
    console.print(table)
    console.print(f"side by side is {results['speed_up']:.2f} times as fast; same weights")


if __name__ == "__main__":
    main()
