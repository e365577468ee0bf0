"""One case of Torch-Pruning, in an environment of its own: prunes, trains on, and prints JSON.

    python head_to_head_peers.py CASE.json

``CASE.json`` names the set, its files, the trained net, seed, epochs and way. Needs torch-pruning
and safetensors beside what ``head_to_head_common.py`` needs.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
from head_to_head_common import BATCH
from head_to_head_common import BUDGETS
from head_to_head_common import SETS
from head_to_head_common import count_macs
from head_to_head_common import load_parts
from head_to_head_common import measure
from head_to_head_common import train
from safetensors.torch import load_file
from torch import nn


def prune(
    net: nn.Module, example: torch.Tensor, limit: float, *, unpruned: str, **options: Any
) -> nn.Module:
    """Return the largest pruned copy within a limit of macs, by bisection of the ratio.

    Where that ends above the limit, since layers that would lose all are left whole, the ratios are
    gone through in hundredths; if none is within it, the smallest found is returned.
    """
    # Torch-Pruning imports torchvision, whose operators may be missing beside a CPU build.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        try:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:
            continue
    import torch_pruning as tp

    def cut(ratio: float) -> nn.Module:
        copied = copy.deepcopy(net)
        tp.pruner.MagnitudePruner(
            copied,
            example,
            importance=tp.importance.GroupMagnitudeImportance(),
            pruning_ratio=ratio,
            ignored_layers=[
                module for name, module in copied.named_modules() if re.fullmatch(unpruned, name)
            ],
            **options,
        ).step()
        return copied

    low, high = 0.0, 0.97
    for _ in range(12):
        middle = (low + high) / 2
        is_small = count_macs(cut(middle), example) <= limit
        low, high = (low, middle) if is_small else (middle, high)
    found = cut(high)
    if count_macs(found, example) <= limit:
        return found
    sizes = {
        hundredths / 100: count_macs(cut(hundredths / 100), example) for hundredths in range(100)
    }
    within = {ratio: macs for ratio, macs in sizes.items() if macs <= limit}
    return cut(
        max(within, key=within.__getitem__) if within else min(sizes, key=sizes.__getitem__)
    )


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Prune, train and test at every budget."""
    torch.set_num_threads(1)
    chosen = SETS[case["set"]]
    pictures, _, test = load_parts(case["set"], Path(case["root"]), Path(case["kept"]))
    net = chosen.build()
    net.load_state_dict(load_file(case["net"]))
    net.eval()
    example = pictures.scaled[:1]
    full = count_macs(net, example)
    options: dict[str, Any] = {"unpruned": chosen.unpruned}
    options |= {"isomorphic": True, "global_pruning": True} if "isomorphic" in case["way"] else {}
    source, rows = net, []
    began = time.process_time()
    for budget in BUDGETS:
        member = prune(source, example, budget * full, **options)
        macs = count_macs(member, example)
        before = measure(member, test)
        n_steps = round(case["epochs"] * full / macs * (len(pictures.labels) // BATCH))
        train(
            member,
            pictures,
            n_steps=n_steps,
            crop=chosen.crop,
            flip=chosen.flip,
            seed=case["seed"],
        )
        rows.append(
            {
                "budget": budget,
                "macs_share": macs / full,
                "before": before,
                "test": measure(member, test),
            }
        )
        if "chain" in case["way"]:
            source = member
    return {"rows": rows, "seconds": time.process_time() - began, "choosing_seconds": 0.0}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
