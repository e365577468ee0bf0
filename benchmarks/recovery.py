"""What tells before finetuning how accurate a subnet is after it.

    python benchmarks/recovery.py --data-root ../shared/data

Random widths of one cost are scored in every way there is without training them: as they are cut,
in a supernet that was trained from the net, after their repair, by the Taylor importance and the
parameters that they keep, and by the distortion of the full net's answers where one group alone is
narrowed, summed over groups. Then each is finetuned as in ``head_to_head.py``. Printed are
Kendall's tau between each score and the accuracy after it, that of the two-fidelity forecast of
those it has not seen, and by how much the best one ends above the one that a score
puts first: what a contest of finetuned candidates could gain at most. Writes
``benchmarks/results/recovery.json``.

Reference for the sum of distortions: Efficient Joint Optimization of Layer-Adaptive Weight Pruning
in Deep Neural Networks, ICCV 2023 (arXiv 2308.10438).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from head_to_head import LADDER
from head_to_head import load_source
from head_to_head import make_net
from head_to_head_common import BATCH
from head_to_head_common import LR
from head_to_head_common import N_ESTIMATING
from head_to_head_common import SETS
from head_to_head_common import load_parts
from head_to_head_common import measure
from head_to_head_common import train
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from dpod_search.data import SeededLoader
from dpod_search.data.source import DataSource
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import RepairingEvaluator
from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.ranking import compute_kendall_tau
from dpod_search.search.forecast import Subnets
from dpod_search.search.forecast import forecast_each
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import copy_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units
from dpod_search.training import TrainingSettings
from dpod_search.training import train_supernet
from dpod_search.widths import Widths


FILE = ROOT / "benchmarks" / "results" / "recovery.json"
SCORES = ("cut", "supernet", "taylor", "distortion", "repaired", "params", "two fidelities")
N_DISTORTED = 512  # pictures whose answers are compared


def draw_widths(supernet: Supernet, share: float, n: int) -> list[Widths]:
    """Draw random widths whose macs are within a twentieth below a share of the full net's."""
    space, footprint = supernet.space, build_footprint(supernet)
    full = footprint.measure(space.full)["macs"]
    ratio = max(
        (r for r in LADDER if footprint.measure(space.uniform(r))["macs"] <= share * full),
        default=LADDER[0],
    )
    rng = np.random.default_rng(7)
    found: list[Widths] = []
    while len(found) < n:
        # Around the uniform ratio, by up to two octaves to either side.
        factors = 2 ** rng.uniform(-2, 2, len(space.rungs))
        active = [
            min(rungs, key=lambda width, wish=f * ratio * rungs[-1]: abs(width - wish))
            for rungs, f in zip(space.rungs, factors, strict=True)
        ]
        widths = space.make(dict(zip(space.names, active, strict=True)))
        if (
            0.95 * share <= footprint.measure(widths)["macs"] / full <= share
            and widths not in found
        ):
            found.append(widths)
    return found


def train_from(
    supernet: Supernet, source: DataSource, options: argparse.Namespace
) -> tuple[Supernet, float]:
    """Return a copy of a supernet, trained for a while, and the seconds that took."""
    chosen = SETS[options.set]
    loader = SeededLoader(
        source.train,
        batch_size=BATCH,
        seed=0,
        shuffle=True,
        drop_last=True,
        crop_padding=chosen.crop,
        flip=chosen.flip,
    )
    trained, began = copy_supernet(supernet), time.process_time()
    train_supernet(
        trained,
        loader,
        settings=TrainingSettings(epochs=options.supernet_epochs, lr=LR, warmup_share=0.0),
    )
    return trained, time.process_time() - began


class Distortion:
    """What a net's answers lose by narrow groups, each taken alone.

    Args:
        evaluator: Of the supernet.
        images: Shape (n, C, H, W).
    """

    def __init__(self, evaluator: Evaluator, images: Tensor) -> None:
        """Ask the full net."""
        self._evaluator, self._images = evaluator, images
        self._space = evaluator.supernet.space
        self._answers = self._ask(self._space.full)
        self._known: dict[tuple[str, int], float] = {}

    def sum_up(self, widths: Widths) -> float:
        """Return the sum over groups of the mean squared change of the logits."""
        return sum(self._measure(name, widths[name]) for name in self._space.names)

    def _measure(self, name: str, width: int) -> float:
        if (name, width) not in self._known:
            answers = self._ask(self._space.full.replace(name, width))
            self._known[name, width] = float((answers - self._answers).square().mean())
        return self._known[name, width]

    @torch.no_grad()
    def _ask(self, widths: Widths) -> Tensor:
        with self._evaluator.calibrated(widths), self._evaluator.supernet.active(widths):
            answers: Tensor = self._evaluator.supernet(self._images)
        return answers


def foretell(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return what outcomes of the others let expect of each."""
    subnets = Subnets(
        before=np.array([row["repaired"] for row in rows]),
        costs=np.array([[row["params"], row["macs"]] for row in rows], dtype=float),
        widths=np.array([row["widths"].split(":") for row in rows], dtype=float),
    )
    told = forecast_each(subnets, [row["after"] for row in rows])
    return [float(mean) for mean in told.mean]


def run(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Score and finetune random widths."""
    chosen = SETS[options.set]
    pictures, validation, test = load_parts(options.set, options.data_root, options.kept)
    net = chosen.build()
    net.load_state_dict(load_file(make_net(options, options.set, options.net_seed)))
    supernet = build_supernet(
        net.eval(), pictures.scaled[:2], ratios=LADDER, multiple=1, removes_blocks=False
    )
    batches = list(pictures.batches(BATCH))[:16]
    reorder_units(supernet, measure_unit_importance(supernet, criterion="magnitude").by_group())
    taylor = measure_unit_importance(supernet, batches).by_group()
    footprint, judged = build_footprint(supernet), list(validation.batches())
    full = footprint.measure(supernet.space.full)["macs"]
    images = pictures.scaled[:N_ESTIMATING]
    cut, repairing = Evaluator(supernet, images), RepairingEvaluator(supernet, images)
    source = load_source(name=options.set, root=str(options.data_root), kept=str(options.kept))
    trained, seconds = train_from(supernet, source, options)
    console.print(f"supernet trained in {seconds:.0f} s")
    distortion, in_supernet = Distortion(cut, images[:N_DISTORTED]), Evaluator(trained, images)
    rows = []
    for widths in draw_widths(supernet, options.share, options.n):
        began = time.perf_counter()
        row = {
            "widths": str(widths),
            "cut": cut.evaluate(widths, judged).first,
            "cut_seconds": time.perf_counter() - began,
        }
        began = time.perf_counter()
        row["repaired"] = repairing.evaluate(widths, judged).first
        row["repaired_seconds"] = time.perf_counter() - began
        row["supernet"] = in_supernet.evaluate(widths, judged).first
        row["distortion"] = -distortion.sum_up(widths)
        row["taylor"] = sum(
            float(scores[:width].sum())
            for scores, width in zip(taylor, widths.active, strict=True)
            if scores is not None
        )
        known = footprint.measure(widths)
        row["params"], row["macs"] = known["params"], known["macs"]
        module = extract_subnet(supernet, widths)
        n_steps = round(options.epochs * full / row["macs"] * (len(pictures.labels) // BATCH))
        train(module, pictures, n_steps=n_steps, crop=chosen.crop, flip=chosen.flip, seed=0)
        row["after"] = measure(module, test)
        rows.append(row)
        console.print(row["widths"], *(round(row[name], 4) for name in (*SCORES[:-1], "after")))
    for row, told in zip(rows, foretell(rows), strict=True):
        row["two fidelities"] = told
    return rows


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kept", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--set", default="cifar16", choices=SETS)
    parser.add_argument("--net-seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.12, help="of the full net's macs")
    parser.add_argument("--epochs", type=float, default=2, help="of the full net, for each")
    parser.add_argument("--supernet-epochs", type=int, default=1, help="of training the supernet")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("-n", type=int, default=30, help="widths")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    return options


def main() -> None:
    """Run one set, and write its taus beside those of others."""
    options, console = parse_options(), Console(soft_wrap=True)
    torch.set_num_threads(1)
    file = options.results
    results = json.loads(file.read_text()) if file.exists() else {"sets": {}}
    rows = run(options, console)
    after = np.array([row["after"] for row in rows])
    rng = np.random.default_rng(0)
    taus = {
        name: compute_kendall_tau([float(row[name]) for row in rows], after, generator=rng)
        for name in SCORES
    }
    key = f"{options.set}, net {options.net_seed}, {options.share:g} of the macs, {options.epochs:g} epochs"
    losses = {
        name: float(after.max() - after[int(np.argmax([row[name] for row in rows]))])
        for name in SCORES
    }
    results["sets"][key] = {
        "best_above_first": losses,
        "taus": {name: asdict(tau) for name, tau in taus.items()},
        "rows": rows,
        "commit": describe_commit(),
    }
    results["machine"] = describe_machine()
    file.write_text(json.dumps(results, indent=1) + "\n")
    console.print(key, {name: round(tau.value, 2) for name, tau in taus.items()})
    console.print("the best above the first", {k: round(100 * v, 1) for k, v in losses.items()})
    ratio = np.median([row["repaired_seconds"] / row["cut_seconds"] for row in rows])
    console.print(f"an evaluation with repair takes {ratio:.1f} of one without")


if __name__ == "__main__":
    main()
