"""What the report costs: its size, the time to write it, and until its figures stand in a browser.

``python benchmarks/report_cost.py`` makes a run folder from a formula (no training), writes the
report and opens it in headless Chromium; it writes ``results/report_cost.json`` and
``docs/report-cost.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import describe_commit
from provenance import describe_machine

from dpod_search.report import write_report


HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "report-cost.md"
SIZES = ((200, 8), (2000, 20), (5000, 40))
MEASURED = ("evaluated", "audited", "cached")
N_OPENINGS = 5


def write_run(folder: Path, *, n_trials: int, n_groups: int) -> None:
    """Write a run folder with a search of so many trials over so many groups."""
    draw = np.random.default_rng(0)
    groups = {
        f"layer{i // 4}.{i % 4}.conv1": 16 * 2 ** (i * 4 // n_groups) for i in range(n_groups)
    }
    rows = [make_row(number, groups, draw) for number in range(n_trials)]
    front = find_front(rows)
    for row in rows:
        row["on_front"] = row["number"] in front
    folder.mkdir(parents=True)
    documents = {
        "search.json": make_search(rows, groups, front),
        "training.json": make_training(),
        "path.json": {"profiles": []},
        "front.json": make_front(rows, groups, front[:: max(len(front) // 12, 1)]),
        "environment.json": {
            "python": "3",
            "platform": "Linux",
            "processor": "x86_64",
            "n_cores": 1,
            "n_threads": 1,
            "cuda": None,
            "versions": {},
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    (folder / "config.toml").write_text('name = "synthetic"\n\n[search]\nconfidence = 0.9\n')
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_row(number: int, groups: dict[str, int], draw: np.random.Generator) -> dict[str, Any]:
    widths = {name: int(draw.integers(1, 9)) * full // 8 for name, full in groups.items()}
    ratios = [width / groups[name] for name, width in widths.items()]
    macs = sum(width * width * 4000 for width in widths.values())
    accuracy = 0.97 - 0.5 * math.exp(-6 * statistics.fmean(ratios)) + float(draw.normal(0, 0.01))
    fate = str(draw.choice(["evaluated", "audited", "pruned-surrogate"], p=[0.7, 0.05, 0.25]))
    guess = accuracy + float(draw.normal(0, 0.01))
    is_measured, is_guessed = fate in MEASURED, number >= 20
    return {
        "number": number,
        "fate": fate if is_guessed else "evaluated",
        "source": "sampler",
        "generation": number // 24,
        "on_front": False,
        "accuracy": accuracy if is_measured or not is_guessed else "",
        "macs": macs,
        "params": macs // 50,
        "weight_bytes": macs // 12,
        "peak_bytes": macs // 90,
        "predicted_accuracy": guess if is_guessed else "",
        "predicted_accuracy_low": guess - 0.02 if is_guessed else "",
        "predicted_accuracy_high": guess + 0.02 if is_guessed else "",
        "reason": "" if is_measured else "even optimistically dominated by the front",
        "seconds": 0.031234,
    } | {f"width:{name}": width for name, width in widths.items()}


def find_front(rows: list[dict[str, Any]]) -> list[int]:
    front, best = [], -1.0
    for row in sorted((r for r in rows if r["accuracy"] != ""), key=lambda row: row["macs"]):
        if row["accuracy"] > best:
            best = row["accuracy"]
            front.append(row["number"])
    return front


def make_search(
    rows: list[dict[str, Any]], groups: dict[str, int], front: list[int]
) -> dict[str, Any]:
    fates = [row["fate"] for row in rows]
    names = (*MEASURED, "pruned-constraint", "pruned-surrogate", "failed")
    share = 1 / len(groups)
    return {
        "study": "synthetic",
        "groups": [
            {
                "name": name,
                "full": full,
                "rungs": [full * i // 8 for i in range(1, 9)],
                "shares": {"macs": share, "params": share},
            }
            for name, full in groups.items()
        ],
        "objectives": [
            {"name": "accuracy", "direction": "maximize"},
            {"name": "macs", "direction": "minimize"},
        ],
        "footprints": ["macs", "params", "weight_bytes", "peak_bytes"],
        "constraints": {},
        "full": make_footprint(groups) | {"accuracy": 0.96},
        "counts": {name: fates.count(name) for name in names},
        "audit": {
            "n_audited": 50,
            "n_wrong": 2,
            "rate": 0.04,
            "low": 0.01,
            "high": 0.13,
            "n_drawn": 200,
            "saved": 0.25,
            "saved_low": 0.2,
            "saved_high": 0.3,
        },
        "importance": {"accuracy": dict.fromkeys(groups, share)},
        "importance_r2": {"accuracy": 0.95},
        "front": front,
        "trials": {"n": len(rows), "sha256": ""},
        "uncounted": [],
    }


def make_footprint(groups: dict[str, int]) -> dict[str, int]:
    macs = sum(full * full * 4000 for full in groups.values())
    return {
        "macs": macs,
        "params": macs // 50,
        "weight_bytes": macs // 12,
        "peak_bytes": macs // 90,
    }


def make_training() -> dict[str, Any]:
    steps = range(0, 4000, 8)
    history = [
        {"step": s, "loss": 2 / (s + 1), "partial_loss": 2.5 / (s + 1), "lr": 0.1} for s in steps
    ]
    return {
        "seconds": 100.0,
        "n_steps": 4000,
        "macs": 1e12,
        "scoring_macs": 1e10,
        "policy": "dpod",
        "n_ranks": 1,
        "history": history,
        "full": {"accuracy": 0.96},
        "data": {
            "sizes": {"test": 10_000},
            "n_classes": 10,
            "class_names": [str(i) for i in range(10)],
            "input_shape": [3, 32, 32],
            "fingerprint": "",
        },
    }


def make_front(
    rows: list[dict[str, Any]], groups: dict[str, int], chosen: list[int]
) -> dict[str, Any]:
    full = make_footprint(groups)
    names = ("macs", "params", "weight_bytes", "peak_bytes")
    members = [
        {name: rows[number][name] for name in names}
        | {
            "trial": number,
            "folder": str(number),
            "widths": {name: rows[number][f"width:{name}"] for name in groups},
            "values": {name: rows[number][name] for name in ("accuracy", "macs")},
            "values_after": {name: rows[number][name] for name in ("accuracy", "macs")},
            "macs_share": rows[number]["macs"] / full["macs"],
            "validation_accuracy_before": rows[number]["accuracy"],
            "test_accuracy_before": rows[number]["accuracy"],
            "validation_accuracy": min(rows[number]["accuracy"] + 0.01, 1.0),
            "test_accuracy": min(rows[number]["accuracy"] + 0.008, 1.0),
            "on_front": True,
            "knee": False,
            "budgets": [],
        }
        for number in chosen
    ]
    accuracies = {"validation_accuracy": 0.97, "test_accuracy": 0.968}
    return {
        "study": "synthetic",
        "seed": 0,
        "footprints": list(names),
        "budgets": [],
        "unmet_budgets": {},
        "full": full | accuracies,
        "members": members,
    }


def open_page(chromium: str, page: Path, scratch: Path) -> float:
    """Open the page in a fresh profile, in real time; return when its first figure stood."""
    profile = tempfile.mkdtemp(dir=scratch)
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        "--window-size=1200,900",
        "--timeout=20000",
        "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip  (flags)
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = re.search(r'data-first-drawn-ms="(\d+)"', done.stdout[:2000])
    if found is None:
        raise RuntimeError(f"{page} has drawn no figure: {done.stderr[-500:]}")
    return int(found[1]) / 1000


def measure(chromium: str, scratch: Path, *, n_trials: int, n_groups: int) -> dict[str, Any]:
    folder = scratch / f"run-{n_trials}"
    write_run(folder, n_trials=n_trials, n_groups=n_groups)
    start = time.process_time()
    page = write_report(folder)
    cpu = time.process_time() - start
    opened = [open_page(chromium, page, scratch) for _ in range(N_OPENINGS)]
    return {
        "n_trials": n_trials,
        "n_groups": n_groups,
        "bytes": page.stat().st_size,
        "write_cpu_s": round(cpu, 2),
        "first_figure_s": sorted(opened),
    }


def write_page(result: dict[str, Any]) -> str:
    lines = [
        "# What the report costs",
        "",
        "Made by `python benchmarks/report_cost.py` from run folders drawn by a formula. The page is opened in headless",
        f"Chromium with a fresh profile, {N_OPENINGS} times each; seconds are the page's own clock, counted from the start of",
        "loading it: median (slowest). The aim is 8 MB and 3 seconds for 2,000 trials over 20 groups.",
        "",
        "| trials | groups | report.html | written in (CPU) | first figure drawn |",
        "|---:|---:|---:|---:|---:|",
    ]
    for one in result["runs"]:
        times = one["first_figure_s"]
        first = f"{statistics.median(times):.2f} s ({max(times):.2f} s)"
        lines.append(
            f"| {one['n_trials']:,} | {one['n_groups']} | {one['bytes'] / 1e6:.2f} MB | "
            f"{one['write_cpu_s']:.1f} s | {first} |"
        )
    lines += [
        "",
        f"{result['library_bytes'] / 1e6:.2f} MB of each page is plotly.js, the same in all: it opens without a network.",
        f"Measured on {result['machine']['n_cores']} cores, at commit {result['commit']}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no chromium or google-chrome is on the PATH")
    from plotly.offline import get_plotlyjs

    with tempfile.TemporaryDirectory() as folder:
        runs = [
            measure(chromium, Path(folder), n_trials=n_trials, n_groups=n_groups)
            for n_trials, n_groups in SIZES[: options.sizes]
        ]
    result = {
        "commit": describe_commit(),
        "machine": describe_machine(),
        "library_bytes": len(get_plotlyjs().encode()),
        "runs": runs,
    }
    text = json.dumps(result, indent=2) + "\n"
    (HERE / "results" / "report_cost.json").write_text(text)
    PAGE.write_text(write_page(result))
    print(write_page(result))


if __name__ == "__main__":
    main()
