"""What discovery finds in torchvision's nets, and that narrow runs are exact.

Writes ``docs/models.md`` and ``benchmarks/results/discovery.json``:

    python benchmarks/discovery.py                     # all nets, about 15 minutes on two cores
    python benchmarks/discovery.py --nets resnet18,vit_b_16   # these; the others stay as they were
    python benchmarks/discovery.py --page              # the page alone, from the results
    python benchmarks/discovery.py --zoo wide          # nets of many packages: docs/zoo.md
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import torch
import zoo_run
from discovery_page import write_page
from exactness import count_macs
from exactness import count_params
from exactness import measure_exactness
from exactness import measure_response
from exactness import stir
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from torch import Tensor
from torch import nn
from zoo_page import write_zoo_page

from dpod_search.errors import DpodSearchError
from dpod_search.inputs import read_example
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.layout import is_elastic
from dpod_search.widths import Widths


NETS = [
    "resnet18",
    "resnet50",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "alexnet",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "googlenet",
    "inception_v3",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "maxvit_t",
]
SIZES = {"inception_v3": 299}
# Pictures of the exactness part: as small as the net takes them, to keep 20 widths bearable.
SMALL_SIZES = {"inception_v3": 139, "maxvit_t": 224}
SIZED_BY_ARGUMENT = {"vit_b_16"}
N_BUILDS = 3
N_WIDTHS = 20
N_EXPORTS = 3
N_IMAGES = 2
RESULTS = ROOT / "benchmarks" / "results" / "discovery.json"
PAGE = ROOT / "docs" / "models.md"


def build_net(name: str, size: int) -> tuple[nn.Module, Tensor]:
    """Build a net for pictures of some size, and draw pictures for it."""
    arguments = {"image_size": size} if name in SIZED_BY_ARGUMENT else {}
    settings = ModelSettings(name=f"torchvision:{name}", arguments=arguments)
    model = build_model(settings, input_shape=(3, size, size), n_classes=1000, seed=0).eval()
    return model, torch.randn(N_IMAGES, 3, size, size, generator=torch_generator(0, name))


def time_discovery(name: str, n_builds: int = N_BUILDS) -> tuple[Supernet, list[float]]:
    """Build a net's supernet several times at its own picture size, in processor seconds each."""
    model, images = build_net(name, SIZES.get(name, 224))
    seconds = []
    for _ in range(n_builds):
        start = time.process_time()
        supernet = build_supernet(model, images[:1])
        seconds.append(time.process_time() - start)
    return supernet.eval(), seconds


def describe_discovery(name: str) -> dict[str, Any]:
    """Say what of a net can be narrowed, and how long it took to find out."""
    _be_quiet()
    try:
        supernet, seconds = time_discovery(name)
    except DpodSearchError as error:
        return {"error": str(error)}
    full = count(supernet, supernet.space.full)
    smallest = count(supernet, supernet.space.smallest)
    kinds = Counter(getattr(group, "kind", "channels") for group in supernet.groups)
    return {
        "seconds": min(seconds),
        "n_groups": len(supernet.groups),
        "groups_by_kind": dict(kinds),
        "conv_params": share_of_convolutions(supernet),
        "shrinkable": {key: 1 - smallest[key] / full[key] for key in full},
        "frozen": [
            [f.name, f.full_width, [drop_places(reason) for reason in f.reasons]]
            for f in supernet.grouping.frozen
        ],
        "uncounted": [drop_places(where) for where in supernet.grouping.uncounted],
    }


def describe_exactness(name: str, n_widths: int) -> dict[str, Any]:
    """Compare narrow runs, gradients, counts and exports of a net at random widths."""
    _be_quiet()
    size = SMALL_SIZES.get(name, 64)
    start = time.perf_counter()
    try:
        model, images = build_net(name, size)
        others = torch.randn(8, *images.shape[1:], generator=torch_generator(1, name))
        stir(model, read_example(others), name)
        supernet = build_supernet(model, images[:1]).eval()
    except DpodSearchError as error:
        return {"error": str(error)}
    response = measure_response(model, read_example(images))
    del model
    row = measure_exactness(supernet, images, name, n_widths=n_widths, n_exports=N_EXPORTS)
    seconds = time.perf_counter() - start
    return {"picture_size": size, "response": response, **row, "exactness_seconds": seconds}


def count(supernet: Supernet, widths: Widths) -> dict[str, int]:
    """Count a subnet by running it, attention and all, whether it has a closed form or not."""
    extracted = extract_subnet(supernet, widths)
    image = torch.zeros(1, *supernet.example_shape)
    return {"params": count_params(extracted), "macs": count_macs(extracted, image)}


def drop_places(reason: str) -> str:
    """Leave out the files and lines of a reason, which are those of one machine."""
    return re.sub(r" \((?:at )?[^() ]*:\d+\)", "", reason)


def share_of_convolutions(supernet: Supernet) -> float | None:
    """Return the share of the convolutions' parameters whose layer can be narrowed."""
    modules = dict(supernet.net.named_modules())
    convolutions = [m for m in modules.values() if isinstance(m, nn.modules.conv._ConvNd)]
    total = sum(m.weight.numel() for m in convolutions)
    elastic = sum(
        modules[plan.name].weight.numel()
        for plan in supernet.grouping.layers
        if plan.kind == "conv" and (is_elastic(plan.output) or is_elastic(plan.weight_input))
    )
    return elastic / total if total else None


def look_at(
    names: Sequence[str], n_widths: int, n_jobs: int, console: Console
) -> dict[str, dict[str, Any]]:
    """Measure nets: discovery one by one, as it is timed, then the rest side by side."""
    commit = describe_commit()
    rows: dict[str, dict[str, Any]] = {}
    context = multiprocessing.get_context("spawn")
    # A process a net, so that no net's time and memory depend on the nets before it.
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as alone:
        for name in names:
            rows[name] = {
                "name": name,
                "commit": commit,
                **alone.submit(describe_discovery, name).result(),
            }
            console.print(name, rows[name].get("error") or f"{rows[name]['seconds']:.2f} s")
    with ProcessPoolExecutor(n_jobs, context, max_tasks_per_child=1) as beside:
        jobs = {beside.submit(describe_exactness, name, n_widths): name for name in names}
        for job in as_completed(jobs):
            row = job.result()
            rows[jobs[job]] |= row
            console.print(
                jobs[job], row.get("error") or f"exactness: {row['exactness_seconds']:.0f} s"
            )
    return rows


def look_at_wide_zoo(arguments: argparse.Namespace, console: Console) -> None:
    """Measure the nets of the wide zoo that have no row yet, and write its page."""
    names = arguments.nets.split(",") if arguments.nets else None
    if not arguments.page:
        zoo_run.look_at_zoo(
            console,
            names=names,
            n_widths=arguments.widths or zoo_run.N_WIDTHS,
            n_jobs=arguments.jobs,
            exports=not arguments.no_export,
            log=arguments.log,
        )
    known = json.loads(zoo_run.RESULTS.read_text())
    zoo_run.PAGE.write_text(write_zoo_page(known))


def _be_quiet() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # what is not counted stands in the page


def main() -> None:
    """Look at the nets, keep the results of the others, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", help="names, with commas between")
    parser.add_argument("--widths", type=int, help="random widths of a net")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the exactness part")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--zoo", choices=["wide"], help="nets of many packages; resumed")
    parser.add_argument("--no-export", action="store_true", help="of the wide zoo: half the time")
    parser.add_argument("--log", type=Path, help="a file for the tracebacks of the wide zoo")
    arguments = parser.parse_args()
    _be_quiet()
    console = Console()
    if arguments.zoo:
        look_at_wide_zoo(arguments, console)
        return
    start = time.perf_counter()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"nets": []}
    if not arguments.page:
        names = arguments.nets.split(",") if arguments.nets else NETS
        if unknown := sorted(set(names) - set(NETS)):
            parser.error(f"unknown nets {unknown}; choose from {', '.join(NETS)}")
        # Rows of an older kind of results cannot stand on the page.
        rows = {row["name"]: row for row in known["nets"] if "commit" in row}
        rows |= look_at(names, arguments.widths or N_WIDTHS, arguments.jobs, console)
        known = {
            "machine": describe_machine(),
            "commit": describe_commit(),
            "nets": [rows[name] for name in NETS if name in rows],
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        console.print(f"{time.perf_counter() - start:.0f} s in all")
    PAGE.write_text(write_page(known))


if __name__ == "__main__":
    main()
