"""What evaluating a subnet costs over running the plain net: time, memory, and what sharing would save.

Writes ``docs/evaluation-cost.md`` and ``benchmarks/results/evaluation_cost.json``:

    python benchmarks/evaluation_cost.py
    python benchmarks/evaluation_cost.py --parts memory   # the others stay as they were

Times are processor seconds of one thread. They are no tests: the machine should have nothing
else to do, as work beside takes the caches that small nets live in.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from discovery import build_net
from evaluation_cost_page import write_page
from evaluation_sharing import measure_sharing
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from torch import Tensor
from torch import nn
from torch.fx.experimental.optimization import fuse

from dpod_search.data import DataSettings
from dpod_search.data import gather_images
from dpod_search.data import load_data
from dpod_search.evaluation import Evaluator
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.placement import Placement
from dpod_search.placement import place_module
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.widths import Widths


N_WIDTHS = 3  # besides the full net
N_ROUNDS = 5
N_MEMORY = 1000
# oneDNN keeps a kernel for each shape it has met, 1,024 of them unless this variable says less.
CACHE_VARIABLE, SMALL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", 64
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
CPU = torch.device("cpu")
RESULTS = ROOT / "benchmarks" / "results" / "evaluation_cost.json"
PAGE = ROOT / "docs" / "evaluation-cost.md"

Pictures = tuple[Tensor, Tensor]  # to calibrate on, and to measure accuracy on


def seconds_of(action: Callable[[], object], n_times: int = 1) -> float:
    """Return the processor seconds of a call, a mean of several."""
    start = time.process_time()
    for _ in range(n_times):
        action()
    return (time.process_time() - start) / n_times


def build_digits() -> tuple[nn.Module, Pictures]:
    """Build the net of the study ``digits``, and its pictures."""
    data = load_data(DataSettings(name="digits"), 0)
    model = build_model(
        ModelSettings(name="resnet8"),
        input_shape=data.input_shape,
        n_classes=data.n_classes,
        seed=0,
    )
    validation = gather_images(data.validation, len(data.validation))
    return model, (gather_images(data.train, 512), validation)


def build_resnet20() -> tuple[nn.Module, Pictures]:
    """Build a ResNet-20 for 32 pixels."""
    settings = ModelSettings(name="resnet20")
    model = build_model(settings, input_shape=(3, 32, 32), n_classes=10, seed=0)
    return model, _draw(128, 32)


def _build_torchvision(name: str) -> tuple[nn.Module, Pictures]:
    return build_net(name, 64)[0], _draw(128, 64)


def _draw(n: int, size: int) -> Pictures:
    generator = torch_generator(0, "evaluation_cost")
    return (
        torch.randn(n, 3, size, size, generator=generator),
        torch.randn(n, 3, size, size, generator=generator),
    )


NETS: dict[str, Callable[[], tuple[nn.Module, Pictures]]] = {
    "resnet8 on digits": build_digits,
    "resnet20, 32 px": build_resnet20,
    "resnet18, 64 px": lambda: _build_torchvision("resnet18"),
    "mobilenet_v2, 64 px": lambda: _build_torchvision("mobilenet_v2"),
}


def place_supernet(model: nn.Module, pictures: Pictures) -> Supernet:
    """Build a supernet, laid out as a study does."""
    supernet = build_supernet(model, pictures[0][:2]).eval()
    place_module(supernet, CPU, is_channels_last=supernet.grouping.runs_channels_last)
    return supernet


def measure_net(build: Callable[[], tuple[nn.Module, Pictures]]) -> list[dict[str, Any]]:
    """Time evaluations of a net's subnets against the plain folded nets' forward."""
    model, pictures = build()
    supernet = place_supernet(model, pictures)
    evaluator = Evaluator(supernet, pictures[0])
    rng = numpy_generator(0, "evaluation_cost")
    chosen = {"full": supernet.space.full}
    chosen |= {f"random {i + 1}": supernet.space.sample(rng) for i in range(N_WIDTHS)}
    return [
        {"widths": name, **measure_widths(evaluator, widths, pictures)}
        for name, widths in chosen.items()
    ]


def measure_widths(evaluator: Evaluator, widths: Widths, pictures: Pictures) -> dict[str, Any]:
    """Time one subnet: its evaluation, and forwards of the extracted net, in turn."""
    supernet = evaluator.supernet
    is_channels_last = supernet.grouping.runs_channels_last
    with evaluator.calibrated(widths) as subnet:
        plain = subnet.extract().eval()
    place = Placement(CPU, is_channels_last=is_channels_last)
    parts = [place.put(part) for part in pictures]
    batches = [(parts[1], torch.zeros(len(parts[1]), dtype=torch.long))]
    nets = {"folded": fuse(plain), "plain": plain}
    for net in nets.values():
        place_module(net, CPU, is_channels_last=is_channels_last)

    def run(net: nn.Module) -> None:
        with torch.inference_mode():
            for part in parts:
                net(part)

    def calibrate() -> None:
        with evaluator.calibrated(widths):
            pass

    actions: dict[str, Callable[[], object]] = {
        "folded": lambda: run(nets["folded"]),
        "plain": lambda: run(nets["plain"]),
        "calibration": calibrate,
        "evaluation": lambda: evaluator.evaluate(widths, batches),
    }
    n_times = max(1, round(0.2 / seconds_of(actions["evaluation"])))
    rounds = [
        # Turned around every other time, so that a machine that changes its speed favours none.
        {name: seconds_of(actions[name], n_times) for name in order}
        for i in range(N_ROUNDS)
        for order in [list(actions)[:: 1 if i % 2 else -1]]
    ]
    return {
        **{f"{name}_ms": 1e3 * median(r[name] for r in rounds) for name in actions},
        "ratio": median(r["evaluation"] / r["folded"] for r in rounds),
        "ratio_to_plain": median(r["evaluation"] / r["plain"] for r in rounds),
    }


def measure_memory() -> list[dict[str, Any]]:
    """Count memory and live tensors over evaluations of random subnets of ``digits``."""
    be_quiet()
    model, pictures = build_digits()
    supernet = place_supernet(model, pictures)
    evaluator = Evaluator(supernet, pictures[0])
    batches = [(pictures[1], torch.zeros(len(pictures[1]), dtype=torch.long))]
    rng = numpy_generator(1, "evaluation_cost")
    rows = []
    for i in range(1, N_MEMORY + 1):
        evaluator.evaluate(supernet.space.sample(rng), batches)
        if i in (10, N_MEMORY) or i % (N_MEMORY // 5) == 0:
            gc.collect()
            n_pages = int(Path("/proc/self/statm").read_text().split()[1])
            n_tensors = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
            rows.append(
                {"n": i, "resident_mib": n_pages * PAGE_SIZE / 2**20, "n_tensors": n_tensors}
            )
    return rows


def measure_memory_with(capacity: int | None) -> list[dict[str, Any]]:
    """Do as :func:`measure_memory` in a process with a cache of kernels of some size."""
    if capacity is not None:
        os.environ[CACHE_VARIABLE] = str(capacity)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as alone:
            return alone.submit(measure_memory).result()
    finally:
        os.environ.pop(CACHE_VARIABLE, None)


PARTS: dict[str, Callable[[], Any]] = {
    "memory": lambda: {
        "usual": measure_memory_with(None),
        "small": measure_memory_with(SMALL_CACHE),
        "variable": CACHE_VARIABLE,
        "room": SMALL_CACHE,
    },
    "sharing": lambda: measure_sharing(place_supernet(*build_resnet20())),
    "nets": lambda: {name: measure_net(build) for name, build in NETS.items()},
}


def be_quiet() -> None:
    """Use one thread, and leave out what discovery says of the nets."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)


def main() -> None:
    """Measure and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas between")
    names = [name for name in parser.parse_args().parts.split(",") if name]
    be_quiet()
    console = Console()
    load = os.getloadavg()[0]
    measured = {}
    for name in names:
        measured[name] = PARTS[name]()
        console.print(name, measured[name])
    if "nets" in names:
        measured |= {"load": load, "n_rounds": N_ROUNDS}
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {**known, **measured, "machine": describe_machine(), "commit": describe_commit()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if PARTS.keys() <= results.keys():
        PAGE.write_text(write_page(results))


if __name__ == "__main__":
    main()
