"""What a supernet costs over plain nets: discovery, changing widths, footprints, training steps.

Writes ``docs/supernet-cost.md`` and ``benchmarks/results/supernet_cost.json``:

    python benchmarks/supernet_cost.py
    python benchmarks/supernet_cost.py --step LSTM    # these nets' steps, and the rest as it is

Times are processor seconds of one thread, which other work on the machine changes less than what
a clock on the wall shows. They are no tests: the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import torch
from discovery import NETS
from discovery import build_net
from discovery import time_discovery
from policy_steps import build_policy_nets
from policy_steps import describe_policy
from policy_steps import measure_policy
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.placement import Placement
from dpod_search.placement import place_module
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.torchvision_ops import import_torchvision
from dpod_search.training import OptimizerSettings


DISCOVERY_LIMIT_S = 3.0
ACTIVATION_LIMIT_US = 1000.0
FOOTPRINTS_LIMIT_S = 0.2
STEP_LIMIT = 1.10
N_BUILDS = 3
N_ACTIVATIONS = 100  # in a row, by the clock
N_FOOTPRINTS = 10_000
N_ONE_BY_ONE = 100
N_ROUNDS = 15
RESULTS = ROOT / "benchmarks" / "results" / "supernet_cost.json"
PAGE = ROOT / "docs" / "supernet-cost.md"

Step = Callable[[], None]


def seconds_of(action: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def measure_discovery(name: str) -> float:
    """Return the median seconds of building a net's supernet."""
    be_quiet()
    return median(time_discovery(name, N_BUILDS)[1])


def measure_widths_of_resnet50() -> dict[str, Any]:
    """Time changing widths, and footprints of many subnets."""
    model, images = build_net("resnet50", 64)
    supernet = build_supernet(model, images[:1])
    rng = numpy_generator(0, "supernet_cost")
    widths = [supernet.space.sample(rng) for _ in range(N_FOOTPRINTS)]

    def activate_from(start: int) -> None:
        for chosen in widths[start : start + N_ACTIVATIONS]:
            with supernet.active(chosen):
                pass

    footprint = build_footprint(supernet)
    # The clock of a process is too coarse for one entry.
    starts = range(0, N_FOOTPRINTS, N_ACTIVATIONS)
    return {
        "n_groups": len(supernet.groups),
        "activation_us": 1e6
        * median(seconds_of(lambda s=s: activate_from(s)) / N_ACTIVATIONS for s in starts),
        "footprints_s": median(
            seconds_of(lambda: footprint.table(np.array([w.active for w in widths])))
            for _ in range(5)
        ),
        "one_by_one_s": seconds_of(lambda: [footprint.measure(w) for w in widths[:N_ONE_BY_ONE]]),
    }


def build_step_nets() -> dict[str, tuple[nn.Module, Tensor]]:
    """Build the nets whose training step is timed, each with a batch."""
    models = import_torchvision("models")
    resnet20 = build_model(
        ModelSettings(name="resnet20"), input_shape=(3, 32, 32), n_classes=10, seed=0
    )
    vit = models.VisionTransformer(
        image_size=32, patch_size=4, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=512
    )
    generator = torch_generator(0, "supernet_cost")
    return {
        "resnet18, 64 px, batch 64": (build_net("resnet18", 64)[0], _draw(64, 64, generator)),
        "resnet18, 224 px, batch 16": (build_net("resnet18", 64)[0], _draw(16, 224, generator)),
        "resnet20, 32 px, batch 64": (resnet20, _draw(64, 32, generator)),
        "mobilenet_v2, 64 px, batch 64": (
            build_net("mobilenet_v2", 64)[0],
            _draw(64, 64, generator),
        ),
        "ViT of 4 blocks of 128, 32 px, batch 64": (vit, _draw(64, 32, generator)),
        "LSTM of 2 layers of 256, 50 steps, batch 32": (
            Recurrent(),
            torch.randn(32, 50, 64, generator=generator),
        ),
        "LSTM of 2 layers of 256, 20 steps, batch 8": (
            Recurrent(),
            torch.randn(8, 20, 64, generator=generator),
        ),
    }


class Recurrent(nn.Module):
    """Classifies sequences by the last output of an LSTM."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.embed = nn.Linear(64, 128)
        self.rnn = nn.LSTM(128, 256, 2, batch_first=True)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (N, 10), of sequences, shape (N, T, 64)."""
        return self.head(self.rnn(self.embed(x))[0][:, -1])  # type: ignore[no-any-return]


def _draw(n: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 3, size, size, generator=generator)


def measure_step(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Time a training step at half widths, supernet and extracted net in turn."""
    supernet = build_supernet(model, images[:1])
    widths = supernet.space.uniform(0.5)
    plain = extract_subnet(supernet, widths)
    is_channels_last = supernet.grouping.runs_channels_last
    device = torch.device("cpu")
    for module in (supernet, plain):
        place_module(module.train(), device, is_channels_last=is_channels_last)
    images = Placement(device, is_channels_last=is_channels_last).put(images)
    parts = [_make_parts(module, images) for module in (supernet, plain)]
    rounds = []
    with supernet.active(widths):
        for i in range(N_ROUNDS + 2):
            # The first of a round alternates, so that a machine that changes its speed favours none.
            order = (0, 1) if i % 2 else (1, 0)
            timed = {side: [seconds_of(part) for part in parts[side]] for side in order}
            rounds.append((timed[0], timed[1]))
    rounds = rounds[2:]  # the first steps draw memory and fill the momenta
    share = sum(p.numel() for p in plain.parameters()) / sum(
        p.numel() for p in supernet.parameters()
    )
    return {
        "n_rounds": len(rounds),
        "params_share": share,
        "plain_ms": 1e3 * median(sum(b) for _, b in rounds),
        "ratio": median(sum(a) / sum(b) for a, b in rounds),
        "forward_backward_ratio": median((a[0] + a[1]) / (b[0] + b[1]) for a, b in rounds),
        "optimizer_extra_ms": 1e3 * median(a[2] - b[2] for a, b in rounds),
    }


def _make_parts(module: nn.Module, images: Tensor) -> list[Step]:
    """Cut a training step in three: forward, backward, and the optimizer's step."""
    optimizer = OptimizerSettings(lr=1e-4).make_optimizer(module)
    labels = torch.arange(len(images)) % 10
    losses: list[Tensor] = []

    def forward() -> None:
        losses.append(nn.functional.cross_entropy(module(images), labels))

    def backward() -> None:
        losses.pop().backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return [forward, backward, update]


def write_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    machine, widths = results["machine"], results["resnet50"]
    slow = [name for name, s in results["discovery_s"].items() if s > DISCOVERY_LIMIT_S]
    wide = [name for name, step in results["steps"].items() if step["ratio"] > STEP_LIMIT]
    lines = [
        "# What a supernet costs",
        "",
        f"Written by `python benchmarks/supernet_cost.py` at commit {results['commit']}, on {machine['n_cores']} cores",
        f"({machine['processor']}), torch {machine['versions']['torch']}. Times are processor seconds of one thread; the machine's load at the start was {results['load']:.1f}.",
        "",
        f"## Widths and footprints of resnet50 ({widths['n_groups']} groups)",
        "",
        "| what | measured | limit |",
        "|---|---|---|",
        f"| entering and leaving `supernet.active(widths)`, median over {N_FOOTPRINTS:,} widths | {widths['activation_us']:.0f} µs | {ACTIVATION_LIMIT_US:.0f} µs |",
        f"| footprints of {N_FOOTPRINTS:,} subnets by `table` | {widths['footprints_s']:.3f} s | {FOOTPRINTS_LIMIT_S} s |",
        f"| footprints of {N_ONE_BY_ONE} subnets by `measure`, one by one | {widths['one_by_one_s']:.3f} s | |",
        "",
        "## A training step at half widths",
        "",
        f"Forward, backward and an SGD step (Nesterov, weight decay) in turn with the extracted net, {N_ROUNDS} rounds; medians",
        f"of the rounds' ratios, limit {STEP_LIMIT:.2f}. The optimizer of a supernet moves all its weights, those of the subnet and the others:",
        "`optimizer` is what that adds in a step.",
        "",
        "| net | weights of the subnet | extracted net | ratio | forward and backward alone | optimizer | within |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name}{_note_commit(s, results)} | {100 * s['params_share']:.0f} % | {s['plain_ms']:.0f} ms | {s['ratio']:.2f} "
            f"| {s['forward_backward_ratio']:.2f} | {s['optimizer_extra_ms']:+.1f} ms | {'no' if name in wide else 'yes'} |"
            for name, s in results["steps"].items()
        ),
        "",
        *describe_policy(results["policy"]),
        "## Discovery",
        "",
        f"`build_supernet` at the net's own picture size, median of {N_BUILDS}, limit {DISCOVERY_LIMIT_S:.0f} s.",
        "",
        "| net | seconds | within |",
        "|---|---|---|",
        *(
            f"| {name} | {s:.2f} | {'no' if name in slow else 'yes'} |"
            for name, s in results["discovery_s"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _note_commit(step: dict[str, Any], results: dict[str, Any]) -> str:
    commit = step.get("commit", results["commit"])
    return "" if commit == results["commit"] else f" (at {commit})"


def be_quiet() -> None:
    """Use one thread, and leave out what discovery warns of."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)


def main() -> None:
    """Measure and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="nets of the discovery part")
    parser.add_argument("--step", help="measure the steps of nets with this name alone")
    arguments = parser.parse_args()
    be_quiet()
    console = Console()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.step is None:
        results |= measure_all(arguments.nets.split(","), results.get("discovery_s", {}), console)
    else:
        steps = results["steps"] | measure_steps(arguments.step, console)
        results["steps"] = {name: steps[name] for name in build_step_nets() if name in steps}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(write_page(results))


def measure_steps(part: str, console: Console) -> dict[str, Any]:
    """Time the training steps of the nets whose name holds a part."""
    steps, commit = {}, describe_commit()
    for name, (model, images) in build_step_nets().items():
        if part in name:
            steps[name] = measure_step(model, images) | {"commit": commit}
            console.print(name, steps[name])
    return steps


def measure_all(names: Sequence[str], known: dict[str, float], console: Console) -> dict[str, Any]:
    """Measure everything.

    Args:
        names: Nets of the discovery part.
        known: Seconds of that part that were measured before.
        console: Where to show what is known by now.
    """
    load = os.getloadavg()[0]
    resnet50 = measure_widths_of_resnet50()
    console.print(resnet50)
    steps = measure_steps("", console)
    policy = {}
    for name, (model, images) in build_policy_nets().items():
        policy[name] = measure_policy(model, images)
        console.print(name, policy[name])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as alone:
        for name, seconds in zip(names, alone.map(measure_discovery, names), strict=True):
            known[name] = seconds
            console.print(f"{name} {seconds:.2f} s")
    return {
        "machine": describe_machine(),
        "commit": describe_commit(),
        "load": load,
        "resnet50": resnet50,
        "steps": steps,
        "policy": policy,
        "discovery_s": {name: known[name] for name in NETS if name in known},
    }


if __name__ == "__main__":
    main()
