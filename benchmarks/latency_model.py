"""Is the latency true: the model's error, measurements an hour apart, budgets wished and measured.

Writes ``docs/latency-model.md`` and ``benchmarks/results/latency_model.json``:

    python benchmarks/latency_model.py
    python benchmarks/latency_model.py --parts repeat --minutes 60   # the others stay as they were

Tables that were measured are kept in the folder ``--cache``, and ``error`` and ``budgets`` use the
same ones. The machine should have nothing else to do; ``repeat`` loads it of its own accord.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from latency_model_budgets import measure_budgets
from latency_model_error import measure_errors
from latency_model_load import KINDS
from latency_model_page import write_page
from latency_model_repeat import measure_repeat
from latency_model_setup import BACKENDS
from latency_model_setup import NETS
from latency_model_setup import Options
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine


RESULTS = ROOT / "benchmarks" / "results" / "latency_model.json"
PAGE = ROOT / "docs" / "latency-model.md"

Store = Callable[[str, dict[str, Any]], None]
PARTS: dict[str, Callable[[Options, Store], None]] = {
    "error": measure_errors,
    "repeat": measure_repeat,
    "budgets": measure_budgets,
}


def make_store(path: Path, part: str, load: float) -> Store:
    """Return what puts one result of a part into the file, beside all that is there.

    The file is read again each time: another process may be measuring another part.
    """

    def store(name: str, found: dict[str, Any]) -> None:
        results = json.loads(path.read_text()) if path.exists() else {}
        about = {"machine": describe_machine(), "commit": describe_commit(), "load_before": load}
        results.setdefault(part, {})[name] = {**found, **about}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        draft.replace(path)

    return store


def read_options() -> tuple[list[str], Options]:
    """Read the command line: the parts, and how."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(tempfile.gettempdir()) / "dpod-latency-model"
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="with commas between; '' for none"
    )
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--minutes", type=float, default=60.0, help="that `repeat` takes")
    parser.add_argument("--rounds", type=int, default=13, help="of `repeat`, at least 2")
    parser.add_argument("--load", choices=list(KINDS), default="both", help="what loads `repeat`")
    parser.add_argument("--cache", type=Path, default=default, help="where tables are kept")
    parser.add_argument("--quick", action="store_true", help="a trial, written into --cache only")
    chosen = parser.parse_args()
    names = [name for name in chosen.parts.split(",") if name]
    options = Options(
        chosen.cache / "quick.json" if chosen.quick else RESULTS,
        chosen.cache,
        nets=tuple(chosen.nets.split(",")),
        backends=tuple(chosen.backends.split(",")),
        minutes=chosen.minutes,
        n_rounds=max(2, chosen.rounds),
        load=chosen.load,
    )
    return names, options.make_quick() if chosen.quick else options


def main() -> None:
    """Measure, and write the results and, of what there is, the page."""
    names, options = read_options()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    for name in names:
        PARTS[name](options, make_store(options.results, name, os.getloadavg()[0]))
    results = json.loads(options.results.read_text())
    page = options.results.with_suffix(".md") if options.is_quick else PAGE
    page.write_text(write_page(results))


if __name__ == "__main__":
    main()
