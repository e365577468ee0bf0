"""Widths chosen in one shot against the searched front, finetuned the same way.

    python benchmarks/oneshot.py --data-root ../shared/data
    python benchmarks/oneshot.py --data-root ../shared/data --net resnet20 --seeds 1

One-shot methods narrow a net that was trained alone: by the width program (MDP), one threshold on
magnitude or Taylor importance, one ratio for all, or at random. The searched front comes from a
supernet of policy `dpod`. Both nets are trained with as many multiply-adds. Besides, the supernet
is narrowed in one shot, which tells what its weights and what its searched widths are worth. A case
is one seed of one net; cases that are in the results are not run again, unless ``--again``.
Writes ``benchmarks/results/oneshot.json`` and ``docs/oneshot.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from from_scratch import CountedAccuracy
from joblib import Parallel
from joblib import delayed
from oneshot_page import write_page
from policies import BUDGETS
from policies import compute_volume
from policies import search_front
from policies import train
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from workload import Prepared
from workload import Workload
from workload import make_workloads

from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import Teacher
from dpod_search.finetune import finetune
from dpod_search.finetune import make_teacher
from dpod_search.footprint.tabulating import tabulate_footprint
from dpod_search.importance import UnitImportance
from dpod_search.importance import measure_unit_importance
from dpod_search.oneshot import OneShotRequest
from dpod_search.oneshot import choose_widths
from dpod_search.programs import WidthTables
from dpod_search.programs import solve_budget
from dpod_search.search.constraints import read_budget
from dpod_search.supernet import Subnet
from dpod_search.supernet.reordering import reorder_units
from dpod_search.tabulated import FloatArray
from dpod_search.training import TrainingResult
from dpod_search.widths import Widths


RESULTS = ROOT / "benchmarks" / "results"
FILE = RESULTS / "oneshot.json"
# Every method has these epochs at a budget, whatever share of it the widths use.
FINETUNING = FinetuneSettings(epochs=2, equal_cost=0.5)
STARTS = ("dpod", "dense")  # how the net was trained that is narrowed

Choose = Callable[[float], Widths]


@dataclass
class Bench:
    """Narrows, finetunes and tests one trained net.

    Args:
        prepared: The net, as a trained supernet, and the pictures.
    """

    prepared: Prepared
    _tested: dict[tuple[Widths, int], dict[str, float]] = field(default_factory=dict)

    def test(self, choose: Choose) -> list[dict[str, Any]]:
        """Choose widths for every budget, and test them before and after finetuning."""
        rows = []
        for budget in BUDGETS:
            widths = choose(budget)
            share = self.prepared.cost(widths) / self.prepared.full_macs
            assert share <= budget
            epochs = FINETUNING.epochs_of(budget)
            row = {"budget": budget, "epochs": epochs, "widths": str(widths), "macs_share": share}
            rows.append(row | self._test_widths(widths, epochs))
        return rows

    def measure(self, widths: Widths) -> float:
        """Measure a calibrated subnet on the test split, as it is."""
        evaluator = Evaluator(self.prepared.supernet, self.prepared.calibration_images)
        return evaluator.evaluate(widths, self.prepared.test).first

    def reorder(self, criterion: str) -> UnitImportance:
        """Measure units on training pictures, and bring the important ones to the front.

        What was tested before is forgotten: other units are kept.
        """
        supernet, loader = self.prepared.supernet, self.prepared.loader
        importance = measure_unit_importance(
            supernet, loader, criterion=criterion, n_batches=len(loader)
        )
        reordering = reorder_units(supernet, importance.by_group())
        assert not reordering.left
        self._tested.clear()
        return importance.reorder(reordering.orders)

    def measure_in_order(self) -> UnitImportance:
        """Measure units by Taylor importance and leave them where they are."""
        loader = self.prepared.loader
        return measure_unit_importance(self.prepared.supernet, loader, n_batches=len(loader))

    def solve(self, importance: UnitImportance) -> Choose:
        """Return a function that solves the width program at a budget."""
        supernet = self.prepared.supernet
        tables = WidthTables(
            importance.tabulate(supernet.space), {"macs": tabulate_footprint(supernet)["macs"]}
        )
        full = {"macs": self.prepared.full_macs}

        def choose(budget: float) -> Widths:
            bounds = read_budget(f"macs<={100 * budget:g}%", full, ())
            solved = solve_budget(supernet.space, tables, bounds)
            assert solved.solution.is_proven
            return solved.widths

        return choose

    def choose(
        self, method: str, scores: tuple[FloatArray | None, ...] = (), *, per_cost: bool = False
    ) -> Choose:
        """Return a function that chooses widths at a budget by a method of the package."""
        cost, full_macs = self.prepared.cost, self.prepared.full_macs

        def choose(budget: float) -> Widths:
            limit = budget * full_macs
            request = OneShotRequest(
                self.prepared.supernet.space,
                is_met=lambda widths: cost(widths) <= limit,
                measure=lambda widths: cost(widths) / limit,
                scores=scores,
                per_cost=per_cost,
                seed=self.prepared.seed,
            )
            return choose_widths(method, request)

        return choose

    def _test_widths(self, widths: Widths, epochs: int) -> dict[str, float]:
        key = widths, epochs
        if key not in self._tested:
            before = self.measure(widths)
            batch_size = self.prepared.workload.batch_size
            finetuned = finetune(
                Subnet(self.prepared.supernet, widths),
                self.prepared.loader,
                calibration_images=self.prepared.calibration_images,
                settings=replace(FINETUNING, epochs=epochs, equal_cost=0, batch_size=batch_size),
                seed=self.prepared.seed,
                teacher=self._teacher,
            )
            after = measure_accuracy(finetuned.module, self.prepared.test)
            self._tested[key] = {"before": before, "test": after}
        return self._tested[key]

    @cached_property
    def _teacher(self) -> Teacher | None:
        # The full net computes the same in every order of its units.
        return make_teacher(self.prepared.supernet, self.prepared.loader, FINETUNING)


def narrow_dense(bench: Bench) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of every one-shot method, on a net that was trained alone."""
    taylor = bench.reorder("taylor")
    yield "mdp", bench.test(bench.solve(taylor))
    yield "uniform", bench.test(bench.choose("uniform"))
    yield "taylor", bench.test(bench.choose("taylor", taylor.by_group()))
    per_cost = bench.choose("taylor", taylor.by_group(), per_cost=True)
    yield "taylor-per-cost", bench.test(per_cost)
    yield "random", bench.test(bench.choose("random"))
    magnitude = bench.reorder("magnitude")
    yield "magnitude", bench.test(bench.choose("magnitude", magnitude.by_group()))


def narrow_supernet(
    bench: Bench, result: TrainingResult, accuracy: CountedAccuracy
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of the searched front, and of one-shot methods, on the supernet."""
    front = search_front(bench.prepared, result, accuracy.make_objective())
    full_macs = bench.prepared.full_macs
    yield "search", bench.test(lambda budget: front.under(macs=budget * full_macs).widths)
    yield "mdp", bench.test(bench.solve(bench.measure_in_order()))
    yield "uniform", bench.test(bench.choose("uniform"))


def run_case(workload: Workload, seed: int, start: str) -> dict[str, Any]:
    """Train a net, and narrow it in every way that there is for it."""
    torch.set_num_threads(1)
    prepared = workload.prepare(seed)
    began = time.perf_counter()
    result = train(prepared, start)
    bench = Bench(prepared)
    accuracy = CountedAccuracy(prepared)
    full = bench.measure(prepared.supernet.space.full)
    is_dense = start == "dense"
    found = narrow_dense(bench) if is_dense else narrow_supernet(bench, result, accuracy)
    methods = {
        name: {"rows": rows, "volume": compute_volume(rows, 1 / prepared.splits.n_classes)}
        for name, rows in found
    }
    epoch = 3 * prepared.full_macs * len(prepared.loader) * workload.batch_size
    return {
        "data": workload.name,
        "net": workload.model,
        "seed": seed,
        "start": start,
        "n_train": len(prepared.train),
        "n_steps": result.n_steps,
        # In epochs of the full net; a forward pass alone is a third.
        "training_epochs": (3 * result.macs + result.scoring_macs) / epoch,
        "search_epochs": accuracy.macs / epoch,
        "full": full,
        "groups": prepared.supernet.space.to_json(),
        "methods": methods,
        "seconds": time.perf_counter() - began,
        "commit": describe_commit(),
    }


def make_workload(options: argparse.Namespace) -> Workload:
    """Return what is trained: the same as in ``benchmarks/policies.py``, or hardly anything."""
    workloads = make_workloads("cpu", options.data_root)
    if options.quick:
        return replace(
            workloads["digits"], dense_epochs=1, n_evaluated=10, n_train=256, model=options.net
        )
    return replace(workloads["fashion_mnist"], model=options.net)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--net", default="resnet8", help="resnet20 has more blocks to remove")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="also what is in the results")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--quick", action="store_true", help="tiny, on digits, to try it out")
    options = parser.parse_args()
    if options.quick and not options.results:
        parser.error("--quick needs --results: its figures are not worth a page")
    return options


def main() -> None:
    """Run the cases that are missing, and write the results and the page."""
    options = parse_options()
    file = options.results or FILE
    console = Console(soft_wrap=True)
    results = json.loads(file.read_text()) if file.exists() else {"cases": []}
    workload = make_workload(options)
    known = {describe_key(case) for case in results["cases"]}
    tasks = [
        delayed(run_case)(workload, seed, start)
        for seed in range(options.seeds)
        for start in STARTS
        if options.again or (workload.data.name, workload.model, seed, start) not in known
    ]
    for case in Parallel(n_jobs=options.jobs, return_as="generator_unordered")(tasks):
        every = {describe_key(c): c for c in [*results["cases"], case]}
        results["cases"] = [every[key] for key in sorted(every)]
        results["machine"] = describe_machine()
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=1) + "\n")
        volumes = {name: round(found["volume"], 2) for name, found in case["methods"].items()}
        console.print(
            case["net"], case["seed"], case["start"], f"{case['seconds']:.0f} s", volumes
        )
    if file == FILE:
        write_page()


def describe_key(case: Mapping[str, Any]) -> tuple[str, str, int, str]:
    """Return what a case is known by."""
    return case["data"], case["net"], case["seed"], case["start"]


if __name__ == "__main__":
    main()
