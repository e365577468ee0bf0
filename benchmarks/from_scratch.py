"""The pipeline's front against the same widths, and uniform widths, trained alone at the same cost.

    python benchmarks/from_scratch.py --data-root ../shared/data --jobs 2

"Rethinking the Value of Network Pruning" (Liu et al., 2019, arXiv 1810.05270) asks whether a
pruned net is better than the same net trained from new weights for as long. Here: a supernet is
trained, searched, and the members of the front that keep most of its hypervolume are finetuned.
All multiply-adds of that (forward passes of training, scoring, calibration, evaluation and
finetuning, the teacher's among them; backward passes count twice as much again) are shared evenly
over the delivered members, and each of two networks trains alone for its share: one of the widths that
the pipeline delivers for a budget of macs, and the largest of uniform width within the budget. No
network alone is distilled: it has no teacher. Writes ``benchmarks/results/from_scratch.json`` and
``docs/from-scratch.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from from_scratch_page import write_page
from joblib import Parallel
from joblib import delayed
from policies import BUDGETS
from policies import search_front
from policies import train
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from workload import Prepared
from workload import Workload
from workload import make_workloads

from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import finetune_all
from dpod_search.search import Objective
from dpod_search.supernet import Subnet
from dpod_search.training import TrainingSettings
from dpod_search.widths import Widths


N_MEMBERS = 10  # of the front that are finetuned, as a user would want several
RESULTS = ROOT / "benchmarks" / "results"


@dataclass
class CountedAccuracy:
    """Measures accuracy on validation as a search does, and adds up what evaluations cost.

    Args:
        prepared: The supernet and the pictures.
        macs: Multiply-adds of all forward passes so far, calibration included.
    """

    prepared: Prepared
    macs: float = 0.0

    def make_objective(self) -> Objective:
        """Return it as an objective."""
        return Objective("accuracy", "maximize", self.measure, batches=self.prepared.validation)

    def measure(self, subnet: Subnet) -> float:
        """Measure a calibrated subnet."""
        images = (self.prepared.calibration_images, *(b for b, _ in self.prepared.validation))
        self.macs += sum(map(len, images)) * self.prepared.cost(subnet.widths)
        return measure_accuracy(subnet, self.prepared.validation)


def run_pipeline(prepared: Prepared) -> tuple[list[dict[str, Any]], float]:
    """Train, search and finetune; return the delivered members and all multiply-adds."""
    workload = prepared.workload
    result = train(prepared, TrainingSettings().policy)
    counted = CountedAccuracy(prepared)
    front = search_front(prepared, result, counted.make_objective()).select(N_MEMBERS)
    settings = FinetuneSettings(
        epochs=workload.member_epochs,
        equal_cost=1,
        max_epochs=1000,
        batch_size=workload.batch_size,
    )
    loader = prepared.loader
    done = finetune_all(
        front,
        loader,
        validation_loader=prepared.validation,
        calibration_images=prepared.calibration_images,
        settings=settings,
        seed=prepared.seed,
    )
    members = []
    macs = 3 * prepared.dense_macs + counted.macs
    for member, finetuned in zip(front, done, strict=True):
        epochs = settings.epochs_of(member.macs / prepared.full_macs)
        macs += 3 * epochs * len(loader) * workload.batch_size * member.macs
        members.append(
            {
                "widths": member.widths,
                "macs": member.macs,
                "epochs": epochs,
                "validation": finetuned.accuracy,
                "test": measure_accuracy(finetuned.module, prepared.test),
            }
        )
    return members, macs + settings.n_views * len(
        loader
    ) * workload.batch_size * prepared.full_macs


def pick_member(members: list[dict[str, Any]], prepared: Prepared) -> dict[str, Any]:
    """Return the largest member that validation does not find worse than the best one.

    Within a standard error of the best accuracy, validation cannot tell members apart, and who has
    the budget takes the larger one.
    """
    best = max(m["validation"] for m in members)
    n_images = sum(len(labels) for _, labels in prepared.validation)
    error = (best * (1 - best) / n_images) ** 0.5
    return max((m for m in members if m["validation"] >= best - error), key=lambda m: m["macs"])


def find_uniform(prepared: Prepared, macs: float) -> Widths:
    """Return the largest subnet of one ratio for all groups within a cost, found in 1,000 ratios."""
    space = prepared.supernet.space
    ratios = (ratio / 1000 for ratio in range(1000, 0, -1))
    every = (space.uniform(ratio) for ratio in ratios)
    return next((w for w in every if prepared.cost(w) <= macs), space.smallest)


def run_seed(workload: Workload, seed: int) -> dict[str, Any]:
    """Compare the three at each budget, with one seed."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    prepared = workload.prepare(seed)
    members, macs = run_pipeline(prepared)
    share = macs / 3 / len(members)
    rows = []
    trained: dict[Widths, float] = {}
    for budget in BUDGETS:
        limit = budget * prepared.full_macs
        within = [m for m in members if m["macs"] <= limit]
        best = pick_member(within, prepared)
        uniform = find_uniform(prepared, limit)
        for widths in (best["widths"], uniform):
            if widths not in trained:
                trained[widths] = prepared.train_alone(widths, share)
        rows.append(
            {
                "budget": budget,
                "macs_share": best["macs"] / prepared.full_macs,
                "pipeline": best["test"],
                "same_widths_alone": trained[best["widths"]],
                "uniform_alone": trained[uniform],
                "epochs_finetuned": best["epochs"],
                "epochs_alone": share / best["macs"] / len(prepared.loader) / workload.batch_size,
            }
        )
    return {
        "data": workload.name,
        "seed": seed,
        "dense_epochs": workload.dense_epochs,
        "member_epochs": workload.member_epochs,
        "n_members": len(members),
        "dense_epochs_in_all": macs / 3 / prepared.full_macs / len(prepared.train),
        "rows": rows,
        "seconds": time.perf_counter() - start,
        "commit": describe_commit(),
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--data", default="digits,fashion_mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--member-epochs", type=int, help="in place of the preset's")
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run every data set and seed, and write the results and the page."""
    options = parse_options()
    suffix = "" if options.preset == "cpu" else "_gpu"
    file = options.results or RESULTS / f"from_scratch{suffix}.json"
    console = Console(soft_wrap=True)
    workloads = make_workloads(options.preset, options.data_root)
    # Half of the compute that the policies are compared at: the other half is the members'.
    workloads = {
        name: replace(
            workload,
            dense_epochs=workload.dense_epochs // 2,
            member_epochs=options.member_epochs or workload.member_epochs,
        )
        for name, workload in workloads.items()
    }
    start = time.perf_counter()
    runs = []
    found = Parallel(n_jobs=options.jobs, return_as="generator")(
        delayed(run_seed)(workloads[name], seed)
        for name in options.data.split(",")
        for seed in range(options.seeds)
    )
    for run in found:
        console.print(run["data"], run["seed"], run["rows"])
        runs.append(run)
        results = {
            "preset": options.preset,
            "wall_seconds": time.perf_counter() - start,
            "machine": describe_machine(),
            "runs": runs,
        }
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=1) + "\n")
    if file.parent == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
