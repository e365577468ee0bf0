"""How well a supernet of NATS-Bench's size network ranks networks that were each trained alone.

    python benchmarks/nats_supernet.py --preset cpu --jobs 2
    python benchmarks/nats_supernet.py --preset gpu

Rebuilds the network (macs and params must equal the published table's), trains a supernet of it on
CIFAR-10 with the package's own stages, and evaluates 500 networks drawn evenly from the table.
Reports Kendall's tau between their supernet accuracy and the accuracy published for them (90 epochs
each), overall and within the ten deciles of macs, beside the tau of params and of macs. Then the
pipeline searches the supernet, and the front it picks is graded by the published table.

Everything is kept in the folder ``--cache`` and goes on from there: pictures, weights, evaluations,
trials. Writes ``benchmarks/results/nats_supernet.json`` and ``docs/nats-supernet.md``.

References:
    Dong et al.: NATS-Bench, 2020, arXiv 2009.00437 (the size space, CIFAR-10).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel
from joblib import delayed
from nats_data import ARCHIVE
from nats_data import unpack_pictures
from nats_grading import describe_forecasts
from nats_grading import describe_ranking
from nats_grading import grade_fronts
from nats_net import HANDLERS
from nats_net import RATIOS
from nats_net import build_full_net
from nats_net import count_published
from nats_page import write_page
from nats_study import PRESETS
from nats_study import SEED
from nats_study import make_study
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from search_table import NATS
from width_table import WidthTable

from dpod_search.bars.drawing import Bars
from dpod_search.errors import DataError
from dpod_search.evaluation import Evaluator
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.footprint import build_footprint
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.progress import SilentProgress
from dpod_search.rng import numpy_generator
from dpod_search.supernet import build_supernet
from dpod_search.widths import IntArray
from dpod_search.widths import Widths


N_NETWORKS = 500
N_CHUNKS = 50
RESULTS = ROOT / "benchmarks" / "results" / "nats_supernet.json"


def check_net(table: WidthTable) -> None:
    """Raise unless the rebuilt network has the published macs and params, at all widths."""
    supernet = build_supernet(
        build_full_net(),
        torch.zeros(2, 3, 32, 32),
        ratios=RATIOS,
        removes_blocks=False,
        handlers=HANDLERS,
    )
    if supernet.space.rungs != table.space.rungs:
        raise DataError(f"the supernet has the widths {supernet.space.rungs}, not the table's")
    counted = count_published(build_footprint(supernet).table(table.channels), table.channels)
    for name, published in (("macs", table.macs), ("params", table.params)):
        n_wrong = int((counted[name] != published).sum())
        if n_wrong:
            raise DataError(f"{n_wrong} networks have other {name} than the table says")


def draw_networks(table: WidthTable, n: int = N_NETWORKS) -> IntArray:
    """Return the rows of the networks that are ranked: all equally likely, none twice."""
    rng = numpy_generator(SEED, "nats/networks")
    return rng.choice(len(table.channels), size=n, replace=False)


def evaluate_networks(
    preset: str, pictures: Path, folder: Path, active: IntArray, *, jobs: int, console: Console
) -> dict[str, Any]:
    """Evaluate networks on the trained supernet, or read what was evaluated.

    Returns:
        ``accuracy`` and ``confidence`` of each, and the ``seconds`` it took.
    """
    file = folder / "evaluations.json"
    asked = {"weights": hash_file(folder / "supernet.safetensors"), "networks": active.tolist()}
    kept = read_json(file) if file.exists() else {}
    if any(kept.get(name) != value for name, value in asked.items()):
        kept = {**asked, "measured": [], "seconds": 0.0}
    chunks = np.array_split(active, N_CHUNKS)
    start, before = time.perf_counter(), kept["seconds"]
    rest = chunks[len(kept["measured"]) :]
    calls = (delayed(_evaluate_some)(preset, pictures, folder, chunk) for chunk in rest)
    for measured in Parallel(n_jobs=jobs, return_as="generator")(calls):
        kept["measured"].append(measured)
        kept["seconds"] = before + time.perf_counter() - start
        write_json(file, kept)
        console.print(f"{len(kept['measured'])} of {len(chunks)} parts, {kept['seconds']:.0f} s")
    pairs = [pair for measured in kept["measured"] for pair in measured]
    accuracy, confidence = zip(*pairs, strict=True)
    return {"accuracy": accuracy, "confidence": confidence, "seconds": kept["seconds"]}


def _evaluate_some(
    preset: str, pictures: Path, folder: Path, active: IntArray
) -> list[list[float]]:
    session, evaluator = _open(preset, pictures, folder)
    names = evaluator.supernet.space.names
    found = [
        evaluator.evaluate(Widths(names, tuple(widths)), session.validation_batches)
        for widths in active.tolist()
    ]
    return [[one.metrics["accuracy"], one.quality] for one in found]


@lru_cache(maxsize=1)
def _open(preset: str, pictures: Path, folder: Path) -> tuple[Session, Evaluator]:
    torch.set_num_threads(1)
    study = make_study(preset, pictures, threads=1)
    # Only read, hence without the folder's lock.
    session = Session(study, RunFolder(folder), SilentProgress())
    batch_size = study.evaluation.batch_size
    evaluator = Evaluator(session.supernet, session.calibration_images, batch_size=batch_size)
    return session, evaluator


def run_preset(name: str, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Train, evaluate, search and grade."""
    preset = PRESETS[name]
    table = WidthTable.load(options.data_root / NATS)
    check_net(table)
    console.print(f"macs and params equal the table's for all {len(table.channels)} networks")
    pictures = unpack_pictures(options.data_root / ARCHIVE, options.cache)
    folder = options.cache / name
    study = make_study(name, pictures, threads=options.jobs)
    with Bars(console) as progress:
        run_stages(study, folder, stages=("train",), progress=progress)
    training = read_json(folder / "training.json")
    rows = draw_networks(table)
    jobs = options.jobs if preset.device == "cpu" else 1
    found = evaluate_networks(
        name, pictures, folder, table.channels[rows], jobs=jobs, console=console
    )
    start = time.perf_counter()
    run_stages(study, folder, stages=("train", "search"), n_jobs=jobs)
    searched_s = time.perf_counter() - start
    return {
        "preset": {**asdict(preset), "threads": options.jobs},
        "pictures": "CIFAR-10 (JPEG copy)",
        "n_steps": training["n_steps"],
        "training_macs": training["macs"],
        "hours": {
            "training": training["seconds"] / 3600,
            "evaluation": found["seconds"] / 3600,
            "search": searched_s / 3600,
        },
        "full_accuracy": training["full"]["accuracy"],
        "ranking": describe_ranking(table, rows, found),
        "forecasts": describe_forecasts(table, rows, found),
        "fronts": grade_fronts(table, folder / "trials.csv"),
        "commit": describe_commit(),
        "machine": describe_machine(),
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    default = Path(tempfile.gettempdir()) / "dpod-search-benchmarks" / "nats"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=default, help="where all is kept")
    parser.add_argument("--jobs", type=int, default=1, help="threads and processes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Run one preset, and write the results and the page."""
    options = parse_options()
    console = Console(soft_wrap=True)
    try:
        found = run_preset(options.preset, options, console)
    except DataError as error:
        raise SystemExit(str(error)) from error
    console.print(json.dumps({name: found[name] for name in ("ranking", "fronts")}, indent=1))
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    results[options.preset] = found
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.results == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
