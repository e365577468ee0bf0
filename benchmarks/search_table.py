"""How near searches come to the true front of a table of networks that were all trained.

    python benchmarks/search_table.py --data-root ../shared/data --jobs 2

Runs every sampler on the NATS-Bench size table (or another, ``--table FILE.npz``) and scores what
it has found after 60, 100, 200 and 400 evaluated networks. Writes
``benchmarks/results/search_table.json`` and, with the results of ``search_supernet.py``,
``docs/search-quality.md``. Samplers that are not run again keep their results.

An evaluated network is a trial with the fate ``evaluated`` or ``audited``, trials taken by number;
pruned trials and duplicates answered from the cache cost nothing. Every sampler gets the same seeds
(uniform networks, the setting ``n_ladder``) before its own proposals, unless ``--no-seeds``. The
surrogate gate is on for ``nsga2`` alone, unless ``--gate-all``.

References:
    Dong et al.: NATS-Bench, 2020, arXiv 2009.00437 (the size space, CIFAR-10).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from statistics import stdev
from typing import Any
from typing import get_args

from joblib import Parallel
from joblib import delayed
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from search_page import write_page
from width_table import Scores
from width_table import WidthTable
from width_table import list_evaluated
from width_table import search

from dpod_search.errors import DataError
from dpod_search.search import SearchSettings
from dpod_search.search.settings import SamplerName


NATS = "nats_sss_cifar10.npz"
RESULTS = ROOT / "benchmarks" / "results" / "search_table.json"


@dataclass(frozen=True)
class Run:
    """One search: which, and how.

    Args:
        table: File of the table.
        settings: How to search.
        seed: Seed of the study.
        n_evaluated: Networks to evaluate.
    """

    table: Path
    settings: SearchSettings
    seed: int
    n_evaluated: int


@dataclass(frozen=True)
class Outcome:
    """What a search did.

    Args:
        rows: Rows of the evaluated networks in the table, in order.
        n_trials: Trials until the last of them, pruned and cached ones included.
        cpu_s: Processor seconds of the whole search.
    """

    rows: Sequence[int]
    n_trials: int
    cpu_s: float


def run_search(run: Run) -> Outcome:
    """Search once."""
    table = WidthTable.load(run.table)
    start = time.process_time()
    result = search(table, run.settings, n_evaluated=run.n_evaluated, seed=run.seed)
    seconds = time.process_time() - start
    found = list_evaluated(result)[: run.n_evaluated]
    rows = table.find_rows([trial.widths.active for trial in found])
    return Outcome(rows.tolist(), found[-1].number + 1, seconds)


def score_sampler(
    scores: Scores, outcomes: Sequence[Outcome], budgets: Sequence[int]
) -> dict[str, Any]:
    """Describe the searches of one sampler over their seeds."""
    by_budget = {}
    for budget in budgets:
        # A sampler that finds nothing new any more is scored by what it has.
        found = [scores.of(_to_array(outcome.rows[:budget])) for outcome in outcomes]
        by_budget[str(budget)] = {name: _spread([s[name] for s in found]) for name in found[0]}
    return {
        "n_seeds": len(outcomes),
        "budgets": by_budget,
        "least_evaluated": min(len(outcome.rows) for outcome in outcomes),
        "n_trials": fmean(outcome.n_trials for outcome in outcomes),
        "cpu_s": fmean(outcome.cpu_s for outcome in outcomes),
    }


def _to_array(rows: Sequence[int]) -> Any:
    import numpy as np

    return np.array(rows, dtype=np.int64)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else 0.0}


def name_variant(table: Path, *, has_seeds: bool, gates_all: bool) -> str:
    """Name what is compared: the table, and how it departs from the default."""
    parts = [table.stem]
    parts += [] if has_seeds else ["without seeds"]
    parts += ["surrogate gate for all"] if gates_all else []
    return ", ".join(parts)


def make_runs(options: argparse.Namespace, table: Path) -> dict[str, list[Run]]:
    """List the searches of every sampler."""
    default = SearchSettings()
    runs = {}
    for sampler in options.samplers:
        settings = SearchSettings(
            sampler=sampler,
            surrogate=sampler == "nsga2" or options.gate_all,
            n_ladder=default.n_ladder if options.seeded else 0,
        )
        n_seeds = min(options.seeds, options.gp_seeds) if sampler == "gp" else options.seeds
        n_evaluated = max(options.budgets)
        runs[sampler] = [Run(table, settings, seed, n_evaluated) for seed in range(n_seeds)]
    return runs


def keep_results(
    results: Mapping[str, Any], variant: str, budgets: Sequence[int]
) -> dict[str, Any]:
    """Return what is known of samplers at some of these budgets; gp may have fewer."""
    known = results.get(variant, {}).get("samplers", {})
    asked = set(map(str, budgets))
    return {name: found for name, found in known.items() if asked & set(found["budgets"])}


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    names = get_args(SamplerName)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--table", type=Path, help=f"another table than DATA_ROOT/{NATS}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--gp-seeds", type=int, default=3, help="at most; gp is slow")
    parser.add_argument("--samplers", type=_split, default=names, help=",".join(names))
    parser.add_argument("--budgets", type=_split_ints, default=(60, 100, 200, 400))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-seeds", dest="seeded", action="store_false")
    parser.add_argument("--gate-all", action="store_true", help="surrogate gate for all samplers")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _split_ints(text: str) -> tuple[int, ...]:
    return tuple(sorted(map(int, text.split(","))))


def main() -> None:
    """Search, score, and write the results and the page."""
    options = parse_options()
    console = Console(soft_wrap=True)
    path = options.table or options.data_root / NATS
    try:
        table = WidthTable.load(path)
    except DataError as error:
        raise SystemExit(str(error)) from error
    variant = name_variant(path, has_seeds=options.seeded, gates_all=options.gate_all)
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    known = keep_results(results, variant, options.budgets)
    scores = Scores(table)
    for sampler, runs in make_runs(options, path).items():
        outcomes = []
        calls = (delayed(run_search)(run) for run in runs)
        for outcome in Parallel(n_jobs=options.jobs, return_as="generator")(calls):
            outcomes.append(outcome)
            console.print(f"{sampler}, seed {len(outcomes) - 1}: {outcome.cpu_s:.1f} s")
        known[sampler] = {
            **score_sampler(scores, outcomes, options.budgets),
            "commit": describe_commit(),
            "machine": describe_machine(),
        }
        for budget, found in known[sampler]["budgets"].items():
            figures = ", ".join(f"{n} {v['mean']:.3f} ({v['sd']:.3f})" for n, v in found.items())
            console.print(f"{variant}: {sampler} at {budget}: {figures}", highlight=False)
        console.print(
            f"  {known[sampler]['cpu_s']:.1f} s, {known[sampler]['n_trials']:.0f} trials"
        )
        results[variant] = {
            "n_networks": len(table.channels),
            "population_size": SearchSettings().population_size,
            "samplers": known,
        }
        options.results.parent.mkdir(exist_ok=True)
        options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.results == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
