"""The wide zoo: every net in a process of its own, with a limit of time; for ``discovery.py``."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from zoo_nets import find_missing
from zoo_nets import list_nets
from zoo_one import be_ready
from zoo_one import measure_into


RESULTS = ROOT / "benchmarks" / "results" / "zoo.json"
PAGE = ROOT / "docs" / "zoo.md"
N_WIDTHS = 5
LIMIT_S = 300
_POLL_S = 0.2


def look_at_zoo(
    console: Console,
    *,
    names: Sequence[str] | None = None,
    n_widths: int = 5,
    n_jobs: int = 2,
    exports: bool = True,
    results: Path = RESULTS,
    log: Path | None = None,
) -> dict[str, Any]:
    """Measure the nets that have no row yet, or those that are named, and write as they come.

    Args:
        console: Told of each net.
        names: These nets, again if need be.
        n_widths: Random widths of a net.
        n_jobs: Processes side by side.
        exports: Nets that are cut out go through ``torch.export``, which takes half of the time.
        results: File of the rows.
        log: Where tracebacks are added.
    """
    be_ready()
    known = json.loads(results.read_text()) if results.exists() else {"nets": []}
    rows = {row["name"]: row for row in known["nets"]}
    missing, order = find_missing(), list(list_nets())
    for package in missing:
        console.print(f"{package} cannot be imported: its nets are left out")
    wanted = [name for name in order if name.partition(":")[0] not in missing]
    asked = [n for n in wanted if (n in names if names is not None else n not in rows)]
    about = {"machine": describe_machine(), "missing": missing}
    commit = describe_commit()
    for i, row in enumerate(_measure_all(asked, n_widths, n_jobs, exports), 1):
        trace = row.pop("traceback", "")
        if log is not None and trace:
            with log.open("a") as file:
                file.write(f"== {row['name']}\n{trace}\n")
        rows[row["name"]] = {**row, "commit": commit}
        console.print(f"{i}/{len(asked)}", row["name"], _tell(row), markup=False)
        known = {**about, "nets": [rows[name] for name in order if name in rows]}
        aside = results.with_suffix(".part")
        aside.write_text(json.dumps(known, indent=1) + "\n")
        aside.replace(results)
    return known


def _measure_all(
    names: Sequence[str], n_widths: int, n_jobs: int, exports: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of nets as they end; each in a process that is forked from this one."""
    context = multiprocessing.get_context("fork")  # all is imported already
    waiting, running = list(names), dict[str, tuple[BaseProcess, float]]()
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < n_jobs:
                name = waiting.pop(0)
                process = context.Process(
                    target=measure_into, args=(name, Path(folder, name), n_widths, exports)
                )
                process.start()
                running[name] = (process, time.monotonic())
            time.sleep(_POLL_S)
            for name, (process, start) in list(running.items()):
                late = time.monotonic() - start > LIMIT_S
                if late:
                    process.kill()
                    process.join()
                if not process.is_alive():
                    del running[name]
                    why = f"stopped after {LIMIT_S} s" if late else ""
                    yield _read_row(Path(folder, name), name, why, process.exitcode)


def _read_row(file: Path, name: str, why: str, exit_code: int | None) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"name": name}
    if why or exit_code:
        why = why or f"the process ended with {exit_code}"
        row["error"] = f"{row.get('error', 'not begun')}; {why}"
    return row


def _tell(row: dict[str, Any]) -> str:
    found = f"{row['seconds']:.2f} s" if "seconds" in row else ""
    if "output_difference" in row:
        differences = row["output_difference"], row["gradient_difference"]
        found += f", {100 * row['params_go']:.1f} %, {differences[0]:.1g}, {differences[1]:.1g}"
        found += f", counts {row['params_error']} {row['macs_error']:.2g}"
    return " ".join([found, row.get("error", ""), row.get("export_error", "")])
