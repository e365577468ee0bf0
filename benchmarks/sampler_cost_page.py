"""The page of ``sampler_cost.py``, ``docs/sampler-cost.md``, from its results."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from provenance import ROOT


PAGE = ROOT / "docs" / "sampler-cost.md"
LIMIT_MS = 2.0
FLAT = 1.5  # single runs on a shared machine: less is noise
NAMES = {
    "memory": "in memory",
    "journal": "journal",
    "sqlite": "SQLite, write-ahead log",
    "postgresql": "PostgreSQL, client alone",
}
WAYS = {
    "nsga2": "`nsga2`, trial by trial",
    "Optuna": "Optuna's NSGA-II, trial by trial",
    "run_study": "`run_study`",
    "run_study, surrogate": "`run_study` with surrogate",
    "run_study, shared": "`run_study` among other workers",
}


def write_page(results: Mapping[str, Any]) -> None:
    """Write the page."""
    machine, sizes = results["machine"], results["sizes"]
    lines = [
        "# What a trial costs",
        "",
        f"Written by `python benchmarks/sampler_cost.py` at commit {results['commit']}, on {machine['n_cores']} cores ({machine['processor']}), Python {machine['python']},",
        f"optuna {machine['versions']['optuna']}. Processor milliseconds of one trial from ask to tell, without its evaluation, in a study that",
        f"holds so many trials already; the machine's load at the start was {results['load']:.1f}. {results['n_groups']} groups of 8 rungs, population size {results['population_size']},",
        f"{results['n_timed']} trials each after {10} that are not counted. First the median, in brackets the mean: what is done once a generation or",
        "once in a while is in the mean alone. In an ordinary study (*trial by trial*) every trial is written as Optuna writes it;",
        "`run_study` is this package's driver, its trivial evaluation included; alone it writes a generation at a time. Of PostgreSQL only the client's time is counted.",
        "",
        f"| storage | what | {' | '.join(f'{n:,}' for n in sizes)} | last / first |",
        f"|---|---|{'---|' * len(sizes)}---|",
        *_write_rows(results),
        "",
        *(f"- {NAMES[name]} was left out: {why}." for name, why in results["skipped"].items()),
        *_judge(results),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _group(results: Mapping[str, Any]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in results["rows"]:
        grouped.setdefault((row["storage"], row["way"]), []).append(row)
    return grouped


def _write_rows(results: Mapping[str, Any]) -> Iterator[str]:
    for (storage, way), rows in _group(results).items():
        cells = " | ".join(f"{row['median_ms']:.2f} ({row['mean_ms']:.2f})" for row in rows)
        growth = rows[-1]["mean_ms"] / rows[0]["mean_ms"]
        yield f"| {NAMES[storage]} | {WAYS[way]} | {cells} | {growth:.2f} |"


def _judge(results: Mapping[str, Any]) -> Iterator[str]:
    grouped = _group(results)
    for key in (("memory", "nsga2"), ("memory", "run_study"), ("journal", "run_study")):
        if key in grouped:
            worst = max(row["mean_ms"] for row in grouped[key])
            growth = grouped[key][-1]["mean_ms"] / grouped[key][0]["mean_ms"]
            is_met = worst <= LIMIT_MS and growth <= FLAT
            yield (
                f"- {WAYS[key[1]]}, {NAMES[key[0]]}: limit {LIMIT_MS:.0f} ms and flat (mean at most {FLAT} times the first); "
                f"at most {worst:.2f} ms, {growth:.2f} times: {'met' if is_met else 'not met'}."
            )
    for storage in ("journal", "sqlite", "postgresql"):
        if (storage, "Optuna") not in grouped:
            continue
        # With nothing in the study Optuna's sampler costs next to nothing: what is left is the
        # storage.
        floor = grouped[storage, "Optuna"][0]["median_ms"]
        for way in ("nsga2", "run_study, shared"):
            if (storage, way) in grouped:
                own = [row["median_ms"] for row in grouped[storage, way]]
                is_met = max(own) <= FLAT * floor and own[-1] <= FLAT * own[0]
                yield (
                    f"- {WAYS[way]}, {NAMES[storage]}: limit the storage's own cost in an empty study "
                    f"(Optuna's, {floor:.1f} ms, within {FLAT} times) and flat; at most {max(own):.1f} ms: "
                    f"{'met' if is_met else 'not met'}."
                )
