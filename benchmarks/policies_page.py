"""The page of the benchmark of training policies, ``docs/policies.md``, from its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Sequence
from statistics import fmean
from statistics import stdev
from typing import Any

from provenance import ROOT


PAGE = ROOT / "docs" / "policies.md"
RESULTS = ROOT / "benchmarks" / "results"
BUDGETS = ("3 %", "6 %", "12 %", "25 %", "50 %")


def write_page() -> None:
    """Write the page from whatever results there are."""
    lines = [
        "# Which policy trains the best supernet",
        "",
        "Every policy of [Training policies](training-policies.md) at its defaults and at equal cost: its supernet is trained with as",
        "many multiply-adds as the full net needs for a number of epochs (what `dpod` spends on scoring its path among them). Then the same search (so many evaluated subnets) and the same",
        "finetuning follow. Written by `python benchmarks/policies.py`; values are means over seeds, with the standard deviation in brackets.",
        "",
        "- **Front at a share of the macs**: test accuracy of the finetuned subnet that was best on validation within the share, in percent.",
        "- **Hypervolume**: of those five, accuracy above chance over the logarithm of macs from 3 % to all, in percent of what a perfect",
        "  accuracy would have.",
        "- **Random**: mean test accuracy of random subnets (each group's width drawn alone) inside the supernet, not finetuned.",
        "- **τ**: Kendall's tau between those accuracies and the same subnets' after a short finetuning (no spread: of seed 0 alone), or (seed 0) trained",
        "  alone from new weights for a quarter of the epochs; with few subnets, a difference of 0.1 is noise. **Top 5**: share of the five truly best among the",
        "  five predicted, against finetuning.",
        "- **Step**: processor time of a step (one thread), time for each multiply-add against steps of the full net alone, turn and turn",
        "  about in one process, and the peak memory against its.",
        "",
    ]
    for name in ("policies.json", "policies_gpu.json"):
        file = RESULTS / name
        if file.exists():
            lines += _write_results(json.loads(file.read_text()))
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _write_ties(results: dict[str, Any]) -> Iterator[str]:
    """Average the hypervolumes over data sets and seeds, by which the default is chosen."""
    data = list(dict.fromkeys(case["data"] for case in results["cases"]))
    volumes: dict[str, list[list[float]]] = {}
    for case in results["cases"]:
        by_data = volumes.setdefault(case["policy"], [[] for _ in data])
        by_data[data.index(case["data"])].append(case["volume"])
    whole = {name: found for name, found in volumes.items() if all(found)}
    yield f"## Both, preset {results['preset']}"
    yield ""
    yield "Hypervolume, mean over the data sets of their means over seeds; in brackets the standard error that the seeds' spread gives it."
    yield ""
    yield "| policy | hypervolume | seeds |"
    yield "|---|---|---|"
    for name, found in sorted(whole.items(), key=lambda pair: -fmean(map(fmean, pair[1]))):
        variance = sum(stdev(v) ** 2 / len(v) if len(v) > 1 else 0.0 for v in found)
        error = variance**0.5 / len(found)
        seeds = " and ".join(str(len(v)) for v in found)
        yield f"| `{name}` | {fmean(map(fmean, found)):.2f} ({error:.2f}) | {seeds} |"
    yield ""


def _write_results(results: dict[str, Any]) -> Iterator[str]:
    yield from _write_ties(results)
    for data in dict.fromkeys(case["data"] for case in results["cases"]):
        cases = [case for case in results["cases"] if case["data"] == data]
        policies = list(dict.fromkeys(case["policy"] for case in cases))
        groups = {name: [c for c in cases if c["policy"] == name] for name in policies}
        order = sorted(policies, key=lambda name: -fmean(c["volume"] for c in groups[name]))
        first = cases[0]
        yield f"## {data}, preset {results['preset']}"
        yield ""
        yield (
            f"{len(groups[order[0]])} seeds, {first['dense_epochs']} dense epochs, "
            f"{results['n_subnets']} random subnets. {_describe_machine(results, cases)}"
        )
        yield ""
        yield f"| policy | {' | '.join(f'front at {b}' for b in BUDGETS)} | mean | hypervolume |"
        yield f"|---|{'---|' * (len(BUDGETS) + 2)}"
        for name in order:
            mine = groups[name]
            at = [
                f"{100 * fmean(c['front'][i]['test'] for c in mine):.2f}"
                for i in range(len(BUDGETS))
            ]
            mean = _spread([100 * c["mean_of_budgets"] for c in mine])
            volume = _spread([c["volume"] for c in mine])
            yield f"| `{name}` | {' | '.join(at)} | {mean} | {volume} |"
        yield ""
        timed = [name for name in order if name in results["steps"].get(data, {})]
        yield "| policy | random | τ finetuned | τ alone | top 5 | ms a step | time per mac | peak memory |"
        yield "|---|---|---|---|---|---|---|---|"
        for name in timed:
            yield _write_ranking(name, groups[name], results["steps"][data][name])
        yield ""


def _write_ranking(name: str, cases: Sequence[dict[str, Any]], step: dict[str, Any]) -> str:
    random = _spread([100 * fmean(c["random_before"]) for c in cases])
    ranked = [c["ranking"]["finetuned"] for c in cases if "finetuned" in c["ranking"]]
    taus = _spread([ranking["tau"]["value"] for ranking in ranked], 2)
    alone = [c["ranking"]["alone"]["tau"] for c in cases if "alone" in c["ranking"]]
    against_alone = ", ".join(
        f"{t['value']:.2f} ({t['low']:.2f} to {t['high']:.2f})" for t in alone
    )
    recall = _spread([ranking["top_5_recall"]["value"] for ranking in ranked], 2)
    return (
        f"| `{name}` | {random} | {taus} | {against_alone or '-'} | {recall} | "
        f"{1000 * step['seconds']:.1f} | {step['time_per_mac_ratio']:.2f} | {step['peak_ratio']:.2f} |"
    )


def _spread(values: Sequence[float], digits: int = 2) -> str:
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ({stdev(values):.{digits}f})" if len(values) > 1 else mean


def _describe_machine(results: dict[str, Any], cases: Sequence[dict[str, Any]]) -> str:
    machine = results["machine"]
    commits = ", ".join(sorted({case["commit"] for case in cases}))
    device = machine["cuda"] or f"{machine['n_cores']} cores"
    return f"PyTorch {machine['versions']['torch']}, {device}; code of {commits}."
