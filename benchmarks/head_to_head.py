"""A trained net at 50, 25, 12 and 6 % of its macs: every way to spend the same compute on it.

    python benchmarks/head_to_head.py --data-root ../shared/data
    python benchmarks/head_to_head.py --data-root ../shared/data --peer-python PEERS/bin/python

Each way gets as many multiply-adds for each member as ``--epochs`` of the full net take, and the same
recipe: SGD, rate .05 falling as a cosine, batches of 128, labels alone. What choosing the widths
takes, in processor seconds, is taken off the training. Ours are commands of the product, run from the trained
net's file. Peers run in an environment of their own (``pip install torch torch-pruning==1.6.1
safetensors``). A case is one set, trained net, seed, number of epochs and way; cases in the results
are not run again. Writes ``benchmarks/results/head_to_head.json`` and ``docs/head-to-head.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from head_to_head_common import BATCH
from head_to_head_common import BUDGETS
from head_to_head_common import LR
from head_to_head_common import SETS
from head_to_head_common import load_parts
from head_to_head_common import measure
from head_to_head_common import train
from head_to_head_page import write_page
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from safetensors.torch import load_file
from safetensors.torch import save_file
from torch import nn

from dpod_search.config import make_study
from dpod_search.data import InMemoryImages
from dpod_search.data.source import DataSource
from dpod_search.footprint import build_footprint
from dpod_search.pipeline import run_stages
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


FILE = ROOT / "benchmarks" / "results" / "head_to_head.json"
TEXTS = [f"macs<={100 * budget:g}%" for budget in BUDGETS]
LADDER = [i / 32 for i in range(1, 33)]

_ONE_SHOT = ["oneshot.budgets=" + json.dumps(TEXTS)]
_SEARCH = ["finetune.budgets=" + json.dumps(TEXTS)]
# What each of our ways says besides the recipe.
OURS: Mapping[str, list[str]] = {
    "uniform": ["oneshot.method=uniform", *_ONE_SHOT, "finetune.chain=false"],
    "uniform, chain": ["oneshot.method=uniform", *_ONE_SHOT, "finetune.chain=true"],
    "mdp": ["oneshot.method=mdp", *_ONE_SHOT, "finetune.chain=false"],
    "mdp, chain": ["oneshot.method=mdp", *_ONE_SHOT, "finetune.chain=true"],
    "run, no chain": [*_SEARCH, "finetune.chain=false"],
    "run": _SEARCH,
    # One thing changed at a time.
    "run, cut as judge": [*_SEARCH, "evaluation.repair=false"],
    "run, distilled": [*_SEARCH, "finetune.distillation=0.5", "finetune.n_views=1"],
    "run, 24 trials": [*_SEARCH, "search.n_trials=24"],
    "run, 96 trials": [*_SEARCH, "search.n_trials=96"],
}
PEERS = ("Torch-Pruning", "Torch-Pruning, isomorphic", "Torch-Pruning, chain")
SCRATCH = "from scratch"


def build_net(*, name: str) -> nn.Module:
    """Build the net of a set; a study names this function."""
    return SETS[name].build()


def load_source(*, name: str, root: str, kept: str) -> DataSource:
    """Return the pictures of a set; a study names this function."""
    parts = load_parts(name, Path(root), Path(kept))
    found: list[Any] = []
    for part in parts:
        n_channels = part.images.shape[1]
        mean, std = (
            list(np.broadcast_to(values, n_channels)) for values in (part.mean, part.deviation)
        )
        found += [
            InMemoryImages(part.images, part.labels, peak=255, mean=mean, std=std),
            part.labels.numpy().astype(np.int64),
        ]
    return DataSource(
        train=found[0],
        train_labels=found[1],
        n_classes=10,
        class_names=tuple(map(str, range(10))),
        content_hash=f"{name} {SETS[name].sizes}",
        validation=found[2],
        validation_labels=found[3],
        test=found[4],
        test_labels=found[5],
    )


def make_net(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Train the net that everything starts from, once, and return its file."""
    chosen = SETS[name]
    if chosen.published:
        published: Path = options.data_root / chosen.published
        return published
    file: Path = options.kept / f"{name}_{seed}.safetensors"
    if not file.exists():
        pictures, _, test = load_parts(name, options.data_root, options.kept)
        torch.manual_seed(seed)
        net = chosen.build()
        n_steps = chosen.epochs * len(pictures.labels) // BATCH
        crop, flip = chosen.crop, chosen.flip
        train(net, pictures, n_steps=n_steps, crop=crop, flip=flip, seed=seed, lr=0.1)
        save_file(net.state_dict(), str(file), {"test": f"{measure(net, test):.4f}"})
    return file


def run_ours(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run the product on a trained net."""
    chosen = SETS[case["set"]]
    training = time_training(case)
    here = Path(__file__).stem
    place = f'name = "{case["set"]}", root = "{case["root"]}", kept = "{case["kept"]}"'
    config = make_study(
        "head_to_head",
        [
            f"seed={case['seed']}",
            "threads=1",
            f"data.name={here}:load_source",
            f"data.arguments={{{place}}}",
            f"model.name={here}:build_net",
            f'model.arguments={{name = "{case["set"]}"}}',
            f"model.weights={case['net']}",
            f"supernet.ratios={LADDER}",
            "supernet.multiple=1",
            "supernet.removes_blocks=false",
            f"training.crop_padding={chosen.crop}",
            f"training.flip={str(chosen.flip).lower()}",
            f"finetune.epochs={case['epochs']}",
            "finetune.equal_cost=1.0",
            "finetune.max_epochs=100000",
            f"finetune.batch_size={BATCH}",
            f"finetune.lr={LR}",
            "finetune.warmup_share=0.0",
            "finetune.max_grad_norm=0.0",
            "finetune.distillation=0.0",
            *OURS[case["way"]],
        ],
    )
    began = time.process_time()
    run_stages(config, folder, stages=["train", "search"])
    choosing = time.process_time() - began
    epochs = case["epochs"] - choosing / training
    if config.finetune.distillation:
        # The full net answers once for all members; a pass without its gradient is a third of one with it.
        epochs -= config.finetune.n_views / 3 / len(BUDGETS)
    epochs = max(0.0, epochs)
    config = replace(config, finetune=replace(config.finetune, epochs=epochs))
    run_stages(config, folder, stages=["finetune"])
    front = json.loads((folder / "front.json").read_text())
    rows = [
        {
            "budget": budget,
            "macs_share": member["macs_share"],
            "before": member["test_accuracy_before"],
            "test": member["test_accuracy"],
            "widths": ":".join(map(str, member["widths"].values())),
        }
        for budget, text in zip(BUDGETS, TEXTS, strict=True)
        for member in front["members"]
        if text in member["budgets"]
    ]
    seconds = time.process_time() - began
    return {
        "rows": rows,
        "seconds": seconds,
        "choosing_seconds": choosing,
        "epochs_left": epochs,
        "training_seconds": training,
    }


def make_uniform(case: Mapping[str, Any]) -> list[tuple[nn.Module, float]]:
    """Return for each budget the largest uniform subnet, and its share of the macs."""
    chosen = SETS[case["set"]]
    pictures, _, _ = load_parts(case["set"], Path(case["root"]), Path(case["kept"]))
    supernet = build_supernet(
        chosen.build(), pictures.scaled[:2], ratios=LADDER, multiple=1, removes_blocks=False
    )
    footprint = build_footprint(supernet)
    full = footprint.measure(supernet.space.full)["macs"]
    found = []
    for budget in BUDGETS:
        within = [
            widths
            for widths in map(supernet.space.uniform, LADDER)
            if footprint.measure(widths)["macs"] <= budget * full
        ]
        share = footprint.measure(within[-1])["macs"] / full
        found.append((extract_subnet(supernet, within[-1]), share))
    return found


def time_training(case: Mapping[str, Any]) -> float:
    """Return the processor seconds that uniform members train, each as long as an epoch of the full net."""
    chosen = SETS[case["set"]]
    pictures, _, _ = load_parts(case["set"], Path(case["root"]), Path(case["kept"]))
    total = 0.0
    for net, share in make_uniform(case):
        seconds = []
        for n_steps in (5, 25, 5, 25, 5, 25):
            began = time.process_time()
            train(net, pictures, n_steps=n_steps, crop=chosen.crop, flip=chosen.flip, seed=0)
            seconds.append(time.process_time() - began)
        a_step = (median(seconds[1::2]) - median(seconds[::2])) / 20
        total += a_step * len(pictures.labels) / BATCH / share
    return total


def run_scratch(case: Mapping[str, Any]) -> dict[str, Any]:
    """Train uniform widths from new weights, each for as long as a member is finetuned."""
    chosen = SETS[case["set"]]
    pictures, _, test = load_parts(case["set"], Path(case["root"]), Path(case["kept"]))
    rows = []
    began = time.process_time()
    for budget, (net, share) in zip(BUDGETS, make_uniform(case), strict=True):
        torch.manual_seed(case["seed"])
        for module in net.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        n_steps = round(case["epochs"] / share * (len(pictures.labels) // BATCH))
        crop, flip = chosen.crop, chosen.flip
        train(net, pictures, n_steps=n_steps, crop=crop, flip=flip, seed=case["seed"], lr=0.1)
        tested = measure(net, test)
        rows.append({"budget": budget, "macs_share": share, "before": 0.1, "test": tested})
    return {"rows": rows, "seconds": time.process_time() - began, "choosing_seconds": 0.0}


def run_peer(case: Mapping[str, Any], python: Path, folder: Path) -> dict[str, Any]:
    """Run a peer in its environment."""
    file = folder / "case.json"
    file.write_text(json.dumps(dict(case)))
    script = Path(__file__).with_name("head_to_head_peers.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(script), str(file)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_case(case: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Run one way."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "head_to_head"
        if case["way"] in OURS:
            return run_ours(case, folder)
        if case["way"] == SCRATCH:
            return run_scratch(case)
        return run_peer(case, options.peer_python, Path(scratch))


def measure_full(case: Mapping[str, Any]) -> float:
    """Return the test accuracy of the trained net."""
    net = SETS[case["set"]].build()
    net.load_state_dict(load_file(case["net"]))
    _, _, test = load_parts(case["set"], Path(case["root"]), Path(case["kept"]))
    return measure(net, test)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kept", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--sets", nargs="+", default=["cifar16"], choices=SETS)
    parser.add_argument("--nets", type=int, default=1, help="trained nets of each set")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, nargs="+", default=[4])
    parser.add_argument("--ways", nargs="+", help="default: all that can be run")
    parser.add_argument("--peer-python", type=Path, help="where torch-pruning is installed")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    options.data_root, options.kept = options.data_root.resolve(), options.kept.resolve()
    return options


def main() -> None:
    """Run the cases that are missing, and write the results and the page."""
    options = parse_options()
    options.kept.mkdir(parents=True, exist_ok=True)
    console = Console(soft_wrap=True)
    file = options.results
    results = json.loads(file.read_text()) if file.exists() else {"cases": []}
    peers = PEERS if options.peer_python else ()
    ways = options.ways or [*OURS, SCRATCH, *peers]
    grid = itertools.product(
        options.seeds and range(options.seeds),
        options.sets,
        range(options.nets),
        options.epochs,
        ways,
    )
    for seed, name, net_seed, epochs, way in grid:
        key = {"set": name, "net_seed": net_seed, "seed": seed, "epochs": epochs, "way": way}
        if any(key.items() <= case.items() for case in results["cases"]):
            continue
        net = make_net(options, name, net_seed)
        case = {**key, "root": str(options.data_root), "kept": str(options.kept), "net": str(net)}
        found = {
            **key,
            "full": measure_full(case),
            **run_case(case, options),
            "commit": describe_commit(),
        }
        results["cases"].append(found)
        results["machine"] = describe_machine()
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=1) + "\n")
        tests = [f"{100 * row['test']:.2f}" for row in found["rows"]]
        console.print(*key.values(), *tests, f"{found['seconds']:.0f} s")
    if file == FILE:
        write_page()


if __name__ == "__main__":
    main()
