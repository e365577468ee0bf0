"""Do seeds from the width program help the search? With and without them, at equal evaluations.

    python benchmarks/mdp_seeds.py --data-root ../shared/data

Searches two problems with seeds of different kinds, nothing else being different, and scores what
has been found after 30, 60 and 100 evaluated networks, seeds included: the published NATS-Bench
table (importance from a net of its kind, trained for one epoch), and the supernet of the shipped
study ``digits``, trained anew for every seed. Trained nets and every search are kept in the folder
``--cache``, so that a run goes on where it was stopped; some ten minutes of one core the first
time. Writes ``benchmarks/results/mdp_seeds.json`` and ``docs/mdp-seeds.md``.

The program's value is the importance kept, or the logarithm of the share of it that each layer keeps
(``log``), see ``mdp_seeds_values.py``.

References:
    Sun et al.: MDP, CVPR 2025, arXiv 2504.02168 (the program).
    Dong et al.: NATS-Bench, 2020, arXiv 2009.00437 (the table).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from statistics import stdev
from typing import Any

from mdp_seeds_page import write_page
from mdp_seeds_problems import Measure
from mdp_seeds_problems import Problem
from mdp_seeds_problems import open_digits
from mdp_seeds_problems import open_nats
from mdp_seeds_problems import score_pool
from mdp_seeds_values import VALUES
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from width_table import TRIALS_FOR_EACH_NETWORK
from width_table import list_evaluated

from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.search import Proposal
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study


BUDGETS = (30, 60, 100)
N_MDP = 8
PARTS = ("nats", "digits")
RESULTS = ROOT / "benchmarks" / "results" / "mdp_seeds.json"


@dataclass(frozen=True)
class Arm:
    """Which seeds come first.

    Args:
        path: Whether the profiles of the training do.
        ladder: Whether uniform networks do.
        mdp: What the width program maximises, a key of ``VALUES``; None without it.
        ends: Whether the largest and the smallest of the uniform networks come, and no others.
    """

    path: bool
    ladder: bool
    mdp: str | None = None
    ends: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = ["path"] * self.path + ["ladder"] * self.ladder + ["ends"] * self.ends
        parts += [] if self.mdp is None else ["mdp" if self.mdp == "kept" else f"mdp ({self.mdp})"]
        return " + ".join(parts) or "none"


WITH_PATH = (
    Arm(True, True),
    Arm(True, True, "kept"),
    Arm(True, False, "kept"),
    Arm(False, True),
    Arm(False, True, "kept"),
    Arm(False, False, "kept"),
    Arm(False, False, "kept", ends=True),
)
WITHOUT_PATH = (
    Arm(False, True),
    Arm(False, True, "kept"),
    Arm(False, True, "log"),
    Arm(False, True, "log of width"),
    Arm(False, False, "kept"),
    Arm(False, False, "kept", ends=True),
    Arm(False, False, "log"),
    Arm(False, False),
)


@dataclass(frozen=True)
class Found:
    """What one search evaluated, in order.

    Args:
        active: Widths of the networks.
        values: Accuracy and macs of each.
        n_seeds: How many were proposed first.
        cpu_s: Processor seconds of the search, evaluations included.
        seeds_s: Those of making the seeds.
    """

    active: Sequence[Sequence[int]]
    values: Sequence[tuple[float, float]]
    n_seeds: int
    cpu_s: float
    seeds_s: float


def find_search(problem: Problem, arm: Arm, seed: int, n_evaluated: int, folder: Path) -> Found:
    """Search a problem once, or read what the search found before."""
    file = folder / f"{problem.name}, {arm.name}, {seed}, {n_evaluated}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(run_search(problem, arm, seed, n_evaluated)))
    return Found(**read_json(file))


def run_search(problem: Problem, arm: Arm, seed: int, n_evaluated: int) -> Found:
    """Search a problem once."""
    settings = SearchSettings(
        n_ladder=SearchSettings().n_ladder if arm.ladder else 2 * arm.ends,
        n_mdp=N_MDP if arm.mdp else 0,
        n_evaluated=n_evaluated,
        n_trials=TRIALS_FOR_EACH_NETWORK * n_evaluated,
    )
    task = replace(problem.task, seed=seed)
    start = time.process_time()
    seeds = list_seeds(problem, arm, settings)
    between = time.process_time()
    study = open_study("mdp-seeds", None, task.objectives, make_sampler(settings, task))
    result = run_study(study, task, settings, seeds)
    end = time.process_time()
    trials = list_evaluated(result)[:n_evaluated]
    return Found(
        [trial.widths.active for trial in trials],
        [(trial.values["accuracy"], trial.values["macs"]) for trial in trials],
        len(seeds),
        end - between,
        between - start,
    )


def list_seeds(problem: Problem, arm: Arm, settings: SearchSettings) -> list[Proposal]:
    """Return the seeds of an arm, as the package proposes them."""
    tables = problem.tabulate(VALUES[arm.mdp]) if arm.mdp else None
    path = problem.path if arm.path else ()
    return propose_seeds(ProposalRequest(problem.task, settings, path, tables))


def score_arms(
    found: Mapping[str, Sequence[Found]], measures: Sequence[Measure]
) -> dict[str, Any]:
    """Score every search of every arm.

    Args:
        found: By arm one search for each seed.
        measures: For each seed what gives the scores of some networks of a search.
    """
    arms: dict[str, Any] = {}
    for name, searches in found.items():
        by_budget: dict[str, Any] = {}
        for budget in ("seeds", *BUDGETS):
            each = []
            for one, measure in zip(searches, measures, strict=True):
                # Seeds alone are the networks that come before the sampler's own.
                n = one.n_seeds if budget == "seeds" else int(budget)
                each.append(measure(one.active[:n]) if n else {})
            metrics = [m for m in ("hypervolume", "gap") if all(m in s for s in each)]
            by_budget[str(budget)] = {m: [s[m] for s in each] for m in metrics}
        arms[name] = {
            "n_seeds": [one.n_seeds for one in searches],
            "budgets": by_budget,
            "search_cpu_s": fmean(one.cpu_s for one in searches),
            "seeds_cpu_s": fmean(one.seeds_s for one in searches),
        }
    return arms


def describe_spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean and standard error."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {"mean": fmean(values), "error": error}


def compare_arms(arms: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for every arm, budget and score, the differences to another arm, seed by seed.

    Arms with a path are compared with the default, the path and the ladder; those without one
    with the ladder, and this with the default.
    """
    compared: dict[str, Any] = {}
    for name in arms:
        base = "ladder" if "path" not in name and name != "ladder" else "path + ladder"
        if base not in arms or base == name:
            continue
        compared[name] = {"base": base}
        for budget in map(str, BUDGETS):
            mine, theirs = (arms[each]["budgets"][budget] for each in (name, base))
            compared[name][budget] = {
                metric: _compare(mine[metric], theirs[metric], is_more_better=metric != "gap")
                for metric in mine
            }
    return compared


def _compare(
    mine: Sequence[float], theirs: Sequence[float], *, is_more_better: bool
) -> dict[str, float]:
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    n_better = sum(d > 0 if is_more_better else d < 0 for d in differences)
    return {**describe_spread(differences), "n_better": n_better}


@dataclass(frozen=True)
class Options:
    """The command line.

    Args:
        data_root: Folder of the table and of the pictures.
        cache: Where all that is slow is kept.
        n_seeds: Supernets of the shipped study.
        n_table_seeds: Searches of each table.
        parts: The problems.
        results: File of the results.
        console: Where to tell how far it is.
    """

    data_root: Path
    cache: Path
    n_seeds: int
    n_table_seeds: int
    parts: Sequence[str]
    results: Path
    console: Console

    @property
    def folder(self) -> Path:
        """Where searches are kept."""
        return self.cache / "searches"


def run_table(problem: Problem, arms: Sequence[Arm], n_seeds: int, options: Options) -> Any:
    """Search a problem of which every network is known."""
    assert problem.measure is not None
    found: dict[str, list[Found]] = {arm.name: [] for arm in arms}
    for seed in range(n_seeds):
        for arm in arms:
            one = find_search(problem, arm, seed, max(BUDGETS), options.folder)
            found[arm.name].append(one)
            _tell(f"{problem.name}, seed {seed}", arm.name, [one], [problem.measure], options)
    return score_arms(found, [problem.measure] * n_seeds)


def run_digits(options: Options) -> tuple[Any, list[Any]]:
    """Search the supernets of the shipped study, of which nobody knows every subnet."""
    found: dict[str, list[Found]] = {arm.name: [] for arm in WITH_PATH}
    measures: list[Measure] = []
    pools = []
    for seed in range(options.n_seeds):
        problem = open_digits(seed, options.cache)
        for arm in WITH_PATH:
            one = find_search(problem, arm, seed, max(BUDGETS), options.folder)
            found[arm.name].append(one)
        searches = [each[-1] for each in found.values()]
        known = {
            tuple(a): v for one in searches for a, v in zip(one.active, one.values, strict=True)
        }
        measures.append(score_pool(known))
        pools.append({"n_networks": len(known), "n_path": len(problem.path)})
        for name, each in found.items():
            _tell(f"digits, seed {seed}", name, each[-1:], measures[-1:], options)
    return score_arms(found, measures), pools


def _tell(
    problem: str, arm: str, found: Sequence[Found], measures: Sequence[Measure], options: Options
) -> None:
    parts = []
    for budget, metrics in score_arms({arm: found}, measures)[arm]["budgets"].items():
        cells = ", ".join(f"{m} {fmean(values):.3f}" for m, values in metrics.items())
        parts.append(f"{budget}: {cells}")
    options.console.print(f"{problem}: {arm}: {'; '.join(parts)}", highlight=False)


def run_part(part: str, options: Options) -> dict[str, Any]:
    """Run one problem with all its arms."""
    more: dict[str, Any] = {}
    if part == "nats":
        problem = open_nats(options.data_root, options.cache)
        arms = run_table(problem, WITHOUT_PATH, options.n_table_seeds, options)
    else:
        arms, more["pools"] = run_digits(options)
    return {
        **more,
        "arms": arms,
        "compared": compare_arms(arms),
        "commit": describe_commit(),
        "machine": describe_machine(),
    }


def parse_options() -> Options:
    """Read the command line."""
    default = Path(tempfile.gettempdir()) / "dpod-search-benchmarks" / "mdp-seeds"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument(
        "--cache", type=Path, default=default, help="all that is slow is kept here"
    )
    parser.add_argument("--seeds", type=int, default=5, help="supernets of the shipped study")
    parser.add_argument("--table-seeds", type=int, default=5, help="searches of each table")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    return Options(
        given.data_root,
        given.cache,
        given.seeds,
        given.table_seeds,
        given.parts,
        given.results,
        Console(soft_wrap=True),
    )


def main() -> None:
    """Search, score, and write the results and the page."""
    options = parse_options()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for part in options.parts:
        results[part] = run_part(part, options)
        ordered = {name: results[name] for name in PARTS if name in results}
        options.results.parent.mkdir(exist_ok=True)
        options.results.write_text(json.dumps(ordered, indent=1) + "\n")
    if options.results == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
