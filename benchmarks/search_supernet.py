"""How near searches come to the exact front of a supernet, and what the surrogate is worth there.

    python benchmarks/search_supernet.py --jobs 2

Trains the supernet of ``digits`` with six groups of five rungs and evaluates all its 15,625
subnets once (some ten minutes; they are kept in the folder ``--cache``). Then every sampler
searches them, as ``search_table.py`` has it; the path of the training comes before the ladder, as
in ``run``. Asks of ``nsga2`` besides how many evaluations the surrogate saves, how often pruning is
wrong, and whether its intervals hold what they promise. Writes
``benchmarks/results/search_supernet.json`` and ``docs/search-quality.md``.
"""

from __future__ import annotations

import argparse
import bisect
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from statistics import median
from typing import Any
from typing import get_args

import numpy as np
from joblib import Parallel
from joblib import delayed
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from search_page import write_page
from search_table import Outcome
from search_table import score_sampler
from supernet_table import SupernetTable
from supernet_table import find_table
from width_table import Scores
from width_table import list_evaluated
from width_table import search

from dpod_search.intervals import compute_wilson_interval
from dpod_search.search import SearchSettings
from dpod_search.search.settings import SamplerName


BUDGETS = (60, 100, 200)
N_WITHOUT_SURROGATE = 1000  # networks that the search without surrogate may need
NO_SURROGATE = "nsga2, no surrogate"
RESULTS = ROOT / "benchmarks" / "results" / "search_supernet.json"


@dataclass(frozen=True)
class Searched:
    """What one search did.

    Args:
        outcome: The networks it evaluated.
        audits: Of every audit, whether pruning would have been wrong.
        n_pruned: Trials that the surrogate pruned.
        n_covered: Evaluated networks whose accuracy lay within the predicted interval.
        n_predicted: Evaluated networks that had one.
        mean_width: Mean width of those intervals, in points.
    """

    outcome: Outcome
    audits: Sequence[bool]
    n_pruned: int
    n_covered: int
    n_predicted: int
    mean_width: float


def run_search(
    supernet: SupernetTable, settings: SearchSettings, seed: int, n_evaluated: int
) -> Searched:
    """Search once."""
    table = supernet.table
    start = time.process_time()
    path = supernet.profiles if settings.n_ladder else ()
    result = search(table, settings, n_evaluated=n_evaluated, seed=seed, path=path)
    seconds = time.process_time() - start
    found = list_evaluated(result)[:n_evaluated]
    trials = [trial for trial in result.trials if trial.number <= found[-1].number]
    predicted = [
        (trial.values["accuracy"], *trial.predictions["accuracy"])
        for trial in found
        if "accuracy" in trial.predictions
    ]
    rows = table.find_rows([trial.widths.active for trial in found])
    return Searched(
        Outcome(rows.tolist(), len(trials), seconds),
        [trial.audit_wrong for trial in trials if trial.audit_wrong is not None],
        sum(trial.fate == "pruned-surrogate" for trial in trials),
        # The bounds themselves are within; a float's rounding must not put them outside.
        sum(low - 1e-9 <= value <= high + 1e-9 for value, _, low, high in predicted),
        len(predicted),
        100 * fmean([high - low for _, _, low, high in predicted] or [0.0]),
    )


def describe_surrogate(searched: Sequence[Searched], nominal: float) -> dict[str, Any]:
    """Pool audits and intervals over the seeds."""
    audits = [is_wrong for one in searched for is_wrong in one.audits]
    n_predicted = sum(one.n_predicted for one in searched)
    n_covered = sum(one.n_covered for one in searched)
    return {
        "n_pruned": sum(one.n_pruned for one in searched),
        "false_prunes": _describe_rate(sum(audits), len(audits)),
        "coverage": {**_describe_rate(n_covered, n_predicted), "nominal": nominal},
        "interval_points": fmean(one.mean_width for one in searched),
    }


def _describe_rate(n_hits: int, n: int) -> dict[str, float | None]:
    low, high = compute_wilson_interval(n_hits / n, n) if n else (None, None)
    return {"n": n, "n_hits": n_hits, "rate": n_hits / n if n else None, "low": low, "high": high}


def describe_savings(
    scores: Scores, screened: Sequence[Searched], plain: Sequence[Searched]
) -> dict[str, Any]:
    """Say how many evaluations the surrogate saves at equal quality of the front.

    Args:
        scores: Of the table.
        screened: Searches with surrogate.
        plain: The same without.

    Returns:
        By number of evaluated networks with surrogate: the mean hypervolume reached, the median
        number that the searches without surrogate evaluate until they have it (those that never
        get there count with all they evaluated), and the share saved.
    """
    savings = {}
    for n in BUDGETS:
        target = fmean(scores.hypervolume(_rows(one, n)) for one in screened)
        needed = [count_needed(scores, one, target) for one in plain]
        limit = [len(one.outcome.rows) for one in plain]
        saved = 1 - n / median(map(min, needed, limit))
        savings[str(n)] = {
            "hypervolume": target,
            "needed": median(map(min, needed, limit)),
            "n_never": sum(n > most for n, most in zip(needed, limit, strict=True)),
            "saved": saved,
        }
    return savings


def count_needed(scores: Scores, searched: Searched, target: float) -> int:
    """Return how many networks a search evaluates until it has a hypervolume; one more if never."""
    counts = range(1, len(searched.outcome.rows) + 1)
    # A hypervolume never falls, so the first place can be found by halving.
    return 1 + bisect.bisect_left(
        counts, target, key=lambda n: scores.hypervolume(_rows(searched, n))
    )


def _rows(searched: Searched, n: int) -> Any:
    return np.array(searched.outcome.rows[:n], dtype=np.int64)


def make_settings(options: argparse.Namespace) -> dict[str, tuple[SearchSettings, int, int]]:
    """List what is run: settings, networks to evaluate, seeds."""
    default = SearchSettings()
    runs = {}
    for sampler in options.samplers:
        settings = SearchSettings(
            sampler=sampler,
            surrogate=sampler == "nsga2",
            n_ladder=default.n_ladder if options.seeded else 0,
        )
        n_seeds = min(options.seeds, options.gp_seeds) if sampler == "gp" else options.seeds
        runs[sampler] = (settings, max(BUDGETS), n_seeds)
        if sampler == "nsga2":
            plain = replace(settings, surrogate=False)
            runs[NO_SURROGATE] = (plain, N_WITHOUT_SURROGATE, n_seeds)
    return runs


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    names = get_args(SamplerName)
    default = Path(tempfile.gettempdir()) / "dpod-search-benchmarks"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=default, help="where subnets are kept")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--gp-seeds", type=int, default=3, help="at most; gp is slow")
    parser.add_argument("--samplers", type=_split, default=names, help=",".join(names))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-seeds", dest="seeded", action="store_false")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> None:
    """Evaluate, search, score, and write the results and the page."""
    options = parse_options()
    console = Console(soft_wrap=True)
    supernet = find_table(options.cache, options.jobs, console.print)
    scores = Scores(supernet.table)
    variant = "path and ladder" if options.seeded else "without seeds"
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    part = results.setdefault(variant, {"samplers": {}})
    searched = {}
    for name, (settings, n_evaluated, n_seeds) in make_settings(options).items():
        searched[name] = Parallel(n_jobs=options.jobs)(
            delayed(run_search)(supernet, settings, seed, n_evaluated) for seed in range(n_seeds)
        )
        part["samplers"][name] = {
            **score_sampler(scores, [one.outcome for one in searched[name]], BUDGETS),
            "commit": describe_commit(),
            "machine": describe_machine(),
        }
        console.print(name, part["samplers"][name]["budgets"])
    if "nsga2" in searched:
        nominal = SearchSettings().confidence
        part["surrogate"] = {
            **describe_surrogate(searched["nsga2"], nominal),
            "saved": describe_savings(scores, searched["nsga2"], searched[NO_SURROGATE]),
        }
        console.print(part["surrogate"])
    part["n_networks"] = len(supernet.table.channels)
    part["n_path"] = len(supernet.path)
    part["population_size"] = SearchSettings().population_size
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.results == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
