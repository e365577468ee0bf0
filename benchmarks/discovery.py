"""What discovery finds in torchvision's nets, and that narrow runs are exact.

Writes ``docs/models.md`` and ``benchmarks/results/discovery.json``:

    python benchmarks/discovery.py
"""

from __future__ import annotations

import json
import platform
import re
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from dpod_search.errors import DpodSearchError
from dpod_search.footprint import build_footprint
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.layout import is_elastic


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
N_WIDTHS = 3
ROOT = Path(__file__).resolve().parents[1]


def look_at(name: str) -> dict[str, Any]:
    """Build one net's supernet and measure what can shrink."""
    size = SIZES.get(name, 224)
    model = build_model(
        ModelSettings(name=f"torchvision:{name}"),
        input_shape=(3, size, size),
        n_classes=1000,
        seed=0,
    ).eval()
    images = torch.randn(1, 3, size, size, generator=torch_generator(0, name))
    start = time.perf_counter()
    supernet = build_supernet(model, images)
    seconds = time.perf_counter() - start
    supernet.eval()
    footprint = build_footprint(supernet)
    full = footprint.measure(supernet.space.full)
    smallest = footprint.measure(supernet.space.smallest)
    return {
        "name": name,
        "n_groups": len(supernet.groups),
        "conv_params": share_of_convolutions(supernet),
        "params": 1 - smallest["params"] / full["params"],
        "macs": 1 - smallest["macs"] / full["macs"],
        "frozen": [
            [f.name, f.full_width, drop_places(f.reasons[0])] for f in supernet.grouping.frozen
        ],
        "n_uncounted": len(supernet.grouping.uncounted),
        "max_difference": compare(supernet, images, name),
        "seconds": seconds,
    }


def drop_places(reason: str) -> str:
    """Leave out the files and lines of a reason, which are those of one machine."""
    return re.sub(r" \([^)]*\)", "", reason)


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


def compare(supernet: Supernet, images: torch.Tensor, name: str) -> float:
    """Return the largest difference of narrow runs from extracted nets, relative to the scores."""
    rng = numpy_generator(0, "discovery", name)
    worst = 0.0
    for _ in range(N_WIDTHS):
        widths = supernet.space.sample(rng)
        with torch.no_grad(), supernet.active(widths):
            got, wanted = supernet(images), extract_subnet(supernet, widths)(images)
        worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max()))
    return worst


def write_table(rows: list[dict[str, Any]]) -> str:
    """Return the page as Markdown."""
    lines = [
        "# What can be narrowed in torchvision's nets",
        "",
        "Written by `python benchmarks/discovery.py`. Shares are of the full net: `params` and `macs` say how much the",
        "smallest subnet (width ratio 1/8) saves, `conv` how much of the convolutions' parameters lies in layers that can",
        f"be narrowed. `difference`: narrow run against extracted net at {N_WIDTHS} random widths, relative to the largest score.",
        "",
        "| net | groups | conv | params | macs | frozen besides the output | not counted | difference | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['name']} | {row['error']} |" + " |" * 7)
            continue
        others = [f for f in row["frozen"] if not f[2].startswith("output")]
        reasons = sorted({reason for *_, reason in others})
        why = f"{len(others)}: {'; '.join(reasons[:3])}" if others else ""
        conv = "" if row["conv_params"] is None else f"{100 * row['conv_params']:.1f} %"
        lines.append(
            f"| {row['name']} | {row['n_groups']} | {conv} | {100 * row['params']:.1f} % "
            f"| {100 * row['macs']:.1f} % | {why} | {row['n_uncounted'] or ''} "
            f"| {row['max_difference']:.1g} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Look at every net and write the page."""
    torch.set_num_threads(1)
    console = Console()
    rows = []
    for name in NETS:
        try:
            rows.append(look_at(name))
        except DpodSearchError as error:
            rows.append({"name": name, "error": str(error)})
        console.print(
            rows[-1]["name"], rows[-1].get("error", f"{rows[-1].get('seconds', 0):.1f} s")
        )
    (ROOT / "docs" / "models.md").write_text(write_table(rows))
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    machine = {"processor": platform.machine(), "torch": metadata.version("torch"), "n_threads": 1}
    (results / "discovery.json").write_text(
        json.dumps({"machine": machine, "nets": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
