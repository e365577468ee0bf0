"""Every training policy at equal training cost: what the supernet ranks, and what the front is worth.

    python benchmarks/policies.py --data-root ../shared/data --jobs 2
    python benchmarks/policies.py --preset gpu --data-root ../shared/data

For each data set, seed and policy: a supernet is trained with as many multiply-adds as the full
net in so many epochs, 20 random subnets are ranked by it, a search of so many evaluations runs on
it, and for each of five budgets of macs the subnet that is best on validation within it is
finetuned and tested. Cases that are in the results are not run again, unless ``--again``; steps are
timed each time, after everything else, in one process. Writes
``benchmarks/results/policies.json`` and ``docs/policies.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from joblib import Parallel
from joblib import delayed
from policies_page import write_page
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from step_cost import measure_policy_step
from workload import Prepared
from workload import Stream
from workload import Workload
from workload import make_workloads

import dpod_search as dpod
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import finetune
from dpod_search.pareto import compute_hypervolume
from dpod_search.ranking import compute_kendall_tau
from dpod_search.ranking import compute_top_k_recall
from dpod_search.rng import numpy_generator
from dpod_search.search import Front
from dpod_search.search import Objective
from dpod_search.search import Proposal
from dpod_search.search import SearchSettings
from dpod_search.supernet import Subnet
from dpod_search.training import POLICIES
from dpod_search.training import PolicyContext
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
from dpod_search.training.policies import make_policy
from dpod_search.widths import Widths


BUDGETS = (0.03, 0.06, 0.12, 0.25, 0.5)  # of the full net's macs
N_SUBNETS = 20  # random ones that are ranked
# The default policy with one thing changed, for docs/decisions/0008: `--policies dpod-7-profiles`.
VARIANTS: dict[str, dict[str, Any]] = {
    "dpod-7-profiles": {"policy_options": {"n_profiles": 7}},
    "dpod-28-profiles": {"policy_options": {"n_profiles": 28}},
    "dpod-warm-up-half": {"policy_options": {"warmup_share": 0.5}},
    "dpod-warm-up-tenth": {"policy_options": {"warmup_share": 0.1}},
    "dpod-distillation-half": {"distillation": 0.5},
    "dpod-no-distillation": {"distillation": 0.0},
    "dpod-group-lasso": {"group_lasso": 1e-4},
}
RESULTS = ROOT / "benchmarks" / "results"


def count_steps(prepared: Prepared, settings: TrainingSettings) -> int:
    """Return how many steps of a policy cost what the workload's dense training costs.

    What the policy has scored counts too: one forward pass over the pictures that calibrate and
    judge, where a picture that trains has a backward pass besides, of twice the cost.

    The policy is walked through without a net; where its subnets follow from scores, these grow
    with the widths.
    """
    space = prepared.supernet.space
    n_steps = prepared.dense_steps
    scored = sum(map(len, (prepared.calibration_images, *(b for b, _ in prepared.scoring))))
    weight = scored / 3 / prepared.workload.batch_size
    for _ in range(3):  # a policy's mean cost hardly depends on how many steps it has
        asked: list[float] = []

        def score(widths: Widths, asked: list[float] = asked) -> float:
            asked.append(prepared.cost(widths))
            return fmean(widths.active) / fmean(space.full.active)

        context = PolicyContext(
            space,
            prepared.cost,
            score,
            n_steps,
            prepared.seed,
            distills=settings.distillation > 0,
        )
        policy = make_policy(settings.policy, settings.policy_options, context)
        macs = 0.0
        for step in range(n_steps):
            policy.begin_step(step)
            plan = policy.plan(step)
            macs += prepared.full_macs * plan.full + sum(map(prepared.cost, plan.partial))
        budget = prepared.dense_steps * prepared.full_macs - weight * sum(asked)
        n_steps = max(1, round(budget / (macs / n_steps)))
    return n_steps


def train(prepared: Prepared, policy: str) -> TrainingResult:
    """Train a supernet with a policy, at the workload's cost.

    Args:
        prepared: What is trained, in place.
        policy: Its name, or one of ``VARIANTS``.
    """
    workload = prepared.workload
    settings = TrainingSettings(
        policy=policy.partition("-")[0],
        epochs=1,
        batch_size=workload.batch_size,
        lr=workload.lr,
        precision=workload.precision,
        **VARIANTS.get(policy, {}),
    )
    return dpod.train_supernet(
        prepared.supernet,
        Stream(prepared.loader, count_steps(prepared, settings)),
        settings=settings,
        scoring_loader=prepared.scoring,
        calibration_images=prepared.calibration_images,
        seed=prepared.seed,
    )


def search_front(
    prepared: Prepared, result: TrainingResult, accuracy: Objective | None = None
) -> Front:
    """Search a trained supernet; the path of its training, if it has one, comes first.

    Args:
        prepared: What was trained.
        result: Of the training.
        accuracy: How subnets are measured, if not by their accuracy on validation.
    """
    return dpod.search(
        prepared.supernet,
        [accuracy or dpod.Accuracy(prepared.validation), dpod.Macs()],
        seed=prepared.seed,
        seeds=[Proposal(widths, "path") for widths in result.path],
        settings=SearchSettings(n_trials=10_000, n_evaluated=prepared.workload.n_evaluated),
    )


def finetune_subnet(prepared: Prepared, subnet: Any, epochs: int) -> float:
    """Finetune a subnet and return its accuracy on the test split."""
    finetuned = finetune(
        subnet,
        prepared.loader,
        calibration_images=prepared.calibration_images,
        # As many epochs for all, and a teacher that sees what they see: what the front is worth
        # is to come from the supernet.
        settings=FinetuneSettings(
            epochs=epochs, equal_cost=0, n_views=0, batch_size=prepared.workload.batch_size
        ),
        seed=prepared.seed,
    )
    return measure_accuracy(finetuned.module, prepared.test)


def finetune_front(prepared: Prepared, front: Front) -> list[dict[str, float]]:
    """Finetune, for each budget, the member that is best on validation within it."""
    rows = []
    tested: dict[int, float] = {}
    for budget in BUDGETS:
        member = front.under(macs=budget * prepared.full_macs)
        if member.trial not in tested:
            epochs = prepared.workload.finetune_epochs
            tested[member.trial] = finetune_subnet(prepared, member, epochs)
        rows.append(
            {
                "budget": budget,
                "macs_share": member.macs / prepared.full_macs,
                "validation_before": member.values["accuracy"],
                "test": tested[member.trial],
            }
        )
    return rows


def compute_volume(rows: list[dict[str, float]], chance: float) -> float:
    """Compute the hypervolume of finetuned subnets: accuracy over the logarithm of macs.

    Args:
        rows: Their share of the full net's macs, and their accuracy on the test split.
        chance: Accuracy of guessing, the reference point; the other is the full net's macs.

    Returns:
        In percent of perfect accuracy from the smallest budget's macs on.
    """
    lowest = math.log(BUDGETS[0])
    points = np.array([[max(math.log(r["macs_share"]), lowest), -r["test"]] for r in rows])
    reference = np.array([0.0, -chance])
    return 100 * compute_hypervolume(points, reference) / (-lowest * (1 - chance))


def run_case(workload: Workload, policy: str, seed: int) -> dict[str, Any]:
    """Train, rank, search and finetune with one policy and one seed."""
    torch.set_num_threads(1)
    prepared = workload.prepare(seed)
    started = time.perf_counter()
    result = train(prepared, policy)
    evaluator = Evaluator(prepared.supernet, prepared.calibration_images)
    subnets = prepared.draw_subnets(N_SUBNETS)
    before = [evaluator.evaluate(widths, prepared.test).first for widths in subnets]
    after = [
        finetune_subnet(prepared, Subnet(prepared.supernet, widths), workload.ranking_epochs)
        for widths in subnets
        if seed < workload.n_ranked
    ]
    full = evaluator.evaluate(prepared.supernet.space.full, prepared.test).first
    rows = finetune_front(prepared, search_front(prepared, result))
    return {
        "policy": policy,
        "data": workload.name,
        "seed": seed,
        "n_steps": result.n_steps,
        "dense_epochs": workload.dense_epochs,
        "dense_epochs_in_steps": result.macs
        / (prepared.full_macs * len(prepared.loader))
        / workload.batch_size,
        "full_before": full,
        "random_before": before,
        "random_finetuned": after,
        "front": rows,
        "volume": compute_volume(rows, 1 / prepared.splits.n_classes),
        "mean_of_budgets": fmean(row["test"] for row in rows),
        "seconds": time.perf_counter() - started,
        "commit": describe_commit(),
    }


def run_alone(workload: Workload, seed: int) -> dict[str, list[float]]:
    """Train the random subnets alone, and return the data set's name with their test accuracies."""
    torch.set_num_threads(1)
    prepared = workload.prepare(seed)
    n_images = prepared.dense_steps * workload.batch_size
    share = 0.25  # of the full net's epochs: their order is what is asked for
    accuracies = [
        prepared.train_alone(widths, share * n_images * prepared.cost(widths))
        for widths in prepared.draw_subnets(N_SUBNETS)
    ]
    return {workload.name: accuracies}


def describe_ranking(case: dict[str, Any], alone: list[float] | None) -> dict[str, Any]:
    """Compare the supernet's ranking of the random subnets with the truths there are."""
    ranking = {}
    truths = {"finetuned": case["random_finetuned"], "alone": alone}
    for name, truth in truths.items():
        if not truth:
            continue
        draws = numpy_generator(case["seed"], "ranking", name)
        ranking[name] = {
            "tau": vars(compute_kendall_tau(case["random_before"], truth, generator=draws)),
            "top_5_recall": vars(
                compute_top_k_recall(case["random_before"], truth, 5, generator=draws)
            ),
        }
    return ranking


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--data", default="digits,fashion_mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="also what is in the results")
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run the cases that are missing, time steps, and write the results and the page."""
    options = parse_options()
    file = options.results or RESULTS / f"policies{'' if options.preset == 'cpu' else '_gpu'}.json"
    console = Console(soft_wrap=True)
    results = json.loads(file.read_text()) if file.exists() else {"cases": [], "alone": {}}
    results |= {"preset": options.preset, "n_subnets": N_SUBNETS, "machine": describe_machine()}
    every = make_workloads(options.preset, options.data_root)
    workloads = {name: every[name] for name in options.data.split(",")}
    policies = options.policies.split(",")
    start = time.perf_counter() - results.get("wall_seconds", 0.0)
    for kind, item in find_missing(options, results, workloads, policies):
        if kind == "alone":
            results["alone"] |= item
        else:
            console.print(item["data"], item["policy"], item["seed"], f"{item['volume']:.2f}")
            results["cases"] = replace_case(results["cases"], item)
        results["wall_seconds"] = time.perf_counter() - start
        write_results(file, results)
    results["steps"] = {
        name: {
            policy: measure_policy_step(load.prepare(0), policy)
            for policy in policies
            if policy not in VARIANTS
        }
        for name, load in workloads.items()
    }
    write_results(file, results)
    if file.parent == RESULTS:
        write_page()


def find_missing(
    options: argparse.Namespace,
    results: dict[str, Any],
    workloads: dict[str, Workload],
    policies: Sequence[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run what the results lack, and yield it piece by piece."""
    there = {(case["data"], case["policy"], case["seed"]) for case in results["cases"]}
    tasks = [
        delayed(run_case)(workload, policy, seed)
        for seed in range(options.seeds)
        for name, workload in workloads.items()
        for policy in policies
        if options.again or (name, policy, seed) not in there
    ]
    tasks += [
        delayed(run_alone)(workload, 0)
        for name, workload in workloads.items()
        if options.again or name not in results["alone"]
    ]
    for found in Parallel(n_jobs=options.jobs, return_as="generator_unordered")(tasks):
        yield ("case" if "policy" in found else "alone"), found


def replace_case(cases: list[dict[str, Any]], case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cases with one new or replaced, in order."""
    every = {(c["data"], c["policy"], c["seed"]): c for c in [*cases, case]}
    return [every[key] for key in sorted(every)]


def write_results(file: Path, results: dict[str, Any]) -> None:
    """Write what there is, each case ranked against the truths that are known for its seed."""
    for case in results["cases"]:
        truth = results["alone"].get(case["data"]) if case["seed"] == 0 else None
        case["ranking"] = describe_ranking(case, truth)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
