"""The page of the two benchmarks of search quality, ``docs/search-quality.md``, from their results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from provenance import ROOT


PAGE = ROOT / "docs" / "search-quality.md"
RESULTS = ROOT / "benchmarks" / "results"
GAP_LIMITS = {"100": 0.20, "200": 0.08}  # points, of nsga2 on the NATS-Bench table
VOLUME_LIMIT = 99.5  # percent, of nsga2 on the supernet after 100
SAVED_LIMIT = 50  # percent
FALSE_PRUNE_LIMITS = (5, 10)  # percent: the rate, the upper end of its interval
COVERAGE_LIMIT = 3  # points away from nominal


def write_page() -> None:
    """Write the page from whatever results there are."""
    lines = [
        "# How good the search is",
        "",
        "Searches on tables of networks that were all measured beforehand, so that the true front is known. Written by",
        "`python benchmarks/search_table.py` and `python benchmarks/search_supernet.py`; each value is the mean over seeds,",
        "with the standard deviation in brackets.",
        "",
        "- **Evaluated networks** are those a search had measured, in the order of its trials, seeds included. Trials that were",
        "  pruned and duplicates that were answered from the cache cost nothing.",
        "- **Gap**: the best accuracy in the table within a cost minus the best found within it, averaged over the",
        "  logarithm of the cost from the smallest network's macs to the largest's; in percentage points. Where nothing",
        "  was found within a cost, the lowest accuracy of the table stands in.",
        "- **Hypervolume**: share of the true front's, with log macs and, in the second column, with macs as they are. The",
        "  reference point is the lowest accuracy and the largest cost in the table.",
        "- `nsga2` is this package's sampler with its surrogate, all settings at their defaults. The others are Optuna's, as they",
        "  are (`nsga2-plain`, `tpe`, `gp`, `random`), without the surrogate. All get the same seeds first.",
        "- No sampler is shown the table: it asks for widths one trial at a time, and footprints are computed from widths.",
        "",
        *_write_tables(_read("search_table.json")),
        *_write_supernet(_read("search_supernet.json")),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _read(name: str) -> dict[str, Any]:
    file = RESULTS / name
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _write_tables(results: Mapping[str, Any]) -> Iterator[str]:
    for name, part in results.items():
        yield f"## {name}"
        yield ""
        yield f"{part['n_networks']:,} networks, accuracy against macs. {_describe_makers(part)}"
        yield ""
        yield from _write_scores(part["samplers"], "gap")
        if name == "nats_sss_cifar10" and "nsga2" in part["samplers"]:
            yield from _judge_gaps(part["samplers"])


def _write_supernet(results: Mapping[str, Any]) -> Iterator[str]:
    for name, part in results.items():
        yield f"## The supernet of digits, {name}"
        yield ""
        seeds = f"The path of the training ({part['n_path']} profiles) and the ladder come first. "
        yield (
            f"{part['n_networks']:,} subnets: six groups of five rungs, each evaluated as a search evaluates it. "
            f"{seeds if name != 'without seeds' else ''}{_describe_makers(part)}"
        )
        yield ""
        yield from _write_scores(part["samplers"], "hypervolume")
        if "nsga2" in part["samplers"] and name != "without seeds":
            reached = part["samplers"]["nsga2"]["budgets"]["100"]["hypervolume"]["mean"]
            yield f"Limit: {VOLUME_LIMIT} % for `nsga2` after 100; reached {reached:.2f} %: {_judge(reached >= VOLUME_LIMIT)}."
            yield ""
        if "surrogate" in part:
            yield from _write_surrogate(part["surrogate"])


def _describe_makers(part: Mapping[str, Any]) -> str:
    made: dict[str, list[str]] = {}
    for name, sampler in part["samplers"].items():
        machine = sampler["machine"]
        maker = (
            f"commit {sampler['commit']} (optuna {machine['versions']['optuna']}, "
            f"scikit-learn {machine['versions']['scikit-learn']})"
        )
        made.setdefault(maker, []).append(f"`{name}`")
    makers = "; ".join(f"{', '.join(names)} at {maker}" for maker, names in made.items())
    return f"Population size {part['population_size']}. Made with {makers}."


def _write_scores(samplers: Mapping[str, Any], first: str) -> Iterator[str]:
    names = {"gap": "gap", "hypervolume": "hypervolume, %", "hypervolume_linear": "linear, %"}
    order = sorted(names, key=lambda name: name != first)
    yield f"| evaluated | sampler | seeds | {' | '.join(names[name] for name in order)} |"
    yield f"|---|---|---|{'---|' * len(order)}"
    budgets = dict.fromkeys(budget for s in samplers.values() for budget in s["budgets"])
    for budget in sorted(budgets, key=int):
        for name, sampler in samplers.items():
            scores = sampler["budgets"].get(budget)
            if scores is not None:
                cells = " | ".join(_format(scores[n], 3 if n == "gap" else 2) for n in order)
                yield f"| {budget} | `{name}` | {sampler['n_seeds']} | {cells} |"
    yield ""
    yield "What the searches took, until the last of these networks:"
    yield ""
    yield "| sampler | trials | processor seconds | fewest networks of a seed |"
    yield "|---|---|---|---|"
    for name, sampler in samplers.items():
        yield f"| `{name}` | {sampler['n_trials']:.0f} | {sampler['cpu_s']:.1f} | {sampler['least_evaluated']} |"
    yield ""


def _judge_gaps(samplers: Mapping[str, Any]) -> Iterator[str]:
    budgets = samplers["nsga2"]["budgets"]
    for budget, limit in GAP_LIMITS.items():
        if budget in budgets:
            gap = budgets[budget]["gap"]["mean"]
            yield f"- `nsga2` at {budget}: limit {limit:.2f} points, reached {gap:.3f}: {_judge(gap <= limit)}."
    behind = [
        f"`{name}` at {budget}"
        for budget, scores in budgets.items()
        for name, other in samplers.items()
        if other["budgets"].get(budget, scores)["gap"]["mean"] < scores["gap"]["mean"]
    ]
    yield f"- Ahead of `nsga2` in the gap: {', '.join(behind) or 'none, at no budget'}."
    yield ""


def _write_surrogate(surrogate: Mapping[str, Any]) -> Iterator[str]:
    yield "### What the surrogate is worth"
    yield ""
    yield "How many subnets `nsga2` without its surrogate has to evaluate (median over seeds) for the hypervolume that it has"
    yield "with it, on average, after so many:"
    yield ""
    yield "| evaluated with surrogate | hypervolume, % | needed without | seeds that never get there | saved |"
    yield "|---|---|---|---|---|"
    for n, s in surrogate["saved"].items():
        at_least = "at least " if s["n_never"] else ""
        yield f"| {n} | {s['hypervolume']:.2f} | {at_least}{s['needed']:.0f} | {s['n_never']} | {at_least}{100 * s['saved']:.0f} % |"
    yield ""
    saved = 100 * min(s["saved"] for s in surrogate["saved"].values())
    yield f"- Least share saved: {saved:.0f} %, limit {SAVED_LIMIT} %: {_judge(saved >= SAVED_LIMIT)}."
    yield f"- Trials pruned by the surrogate, over all seeds: {surrogate['n_pruned']}."
    yield f"- False prunes among the audits: {_describe_false_prunes(surrogate['false_prunes'])}"
    yield f"- Coverage of the stored intervals: {_describe_coverage(surrogate['coverage'], surrogate['interval_points'])}"
    yield ""


def _describe_false_prunes(found: Mapping[str, Any]) -> str:
    if not found["n"]:
        return "there were no audits."
    rate, high = 100 * found["rate"], 100 * found["high"]
    is_within = rate <= FALSE_PRUNE_LIMITS[0] and high <= FALSE_PRUNE_LIMITS[1]
    return (
        f"{found['n_hits']} of {found['n']}, {rate:.1f} % (95 % interval {100 * found['low']:.1f} to {high:.1f}); "
        f"limits {FALSE_PRUNE_LIMITS[0]} and, for the upper end, {FALSE_PRUNE_LIMITS[1]} %: {_judge(is_within)}."
    )


def _describe_coverage(found: Mapping[str, Any], interval_points: float) -> str:
    if not found["n"]:
        return "no evaluated subnet had one."
    rate, nominal = 100 * found["rate"], 100 * found["nominal"]
    return (
        f"{found['n_hits']} of {found['n']}, {rate:.1f} % (95 % interval {100 * found['low']:.1f} to {100 * found['high']:.1f}), "
        f"nominal {nominal:.0f} %, limit {COVERAGE_LIMIT} points: {_judge(abs(rate - nominal) <= COVERAGE_LIMIT)}; "
        f"mean width {interval_points:.1f} points."
    )


def _format(value: Mapping[str, float], digits: int) -> str:
    return f"{value['mean']:.{digits}f} ({value['sd']:.{digits}f})"


def _judge(is_within: bool) -> str:
    return "met" if is_within else "not met"
