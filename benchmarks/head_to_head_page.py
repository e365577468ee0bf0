"""The page of the head-to-head comparison, from its results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from provenance import ROOT


RESULTS = ROOT / "benchmarks" / "results" / "head_to_head.json"
PAGE = ROOT / "docs" / "head-to-head.md"

_INTRO = """# Head to head

A trained net is to have 50, 25, 12 and 6 % of its macs. Each way has for each of the four nets the multiply-adds of as many epochs of the full net as the table says,
forward and backward, and the same recipe (SGD, rate .05 falling as a cosine, batches of 128, labels alone, statistics of norms estimated again). Test accuracy in per
cent, with standard errors over trained nets and seeds; *widths* is what choosing them took, as a share of all processor seconds. With one epoch for each net it is taken off the training; with four, in an
earlier state of the project, it was spent besides. Written by `python benchmarks/head_to_head.py`.

* *uniform*, *mdp*: `dpod-search mdp --method …` from `model.weights`; *run*: the defaults of a study with `model.weights`. *chain*: each net is cut from the next larger finetuned one.
* *Torch-Pruning*: version 1.6.1, one ratio for all layers by group magnitude, or its isomorphic pruning; *chain*: the same, each net pruned from the next larger finetuned one.
* *from scratch*: uniform widths, new weights, rate .1.
"""

_SETS = {
    "cifar16": "CIFAR-10 (JPEG copy) at 16 pixels: 20,000 / 2,000 / 5,000 pictures; a ResNet-8 of widths 32, 64 and 128, stem of stride 2, 3.07 M macs",
    "fashion": "Fashion-MNIST: 20,000 / 2,000 / 5,000 pictures of 28 pixels; the same net for grey pictures",
}


def write_page() -> None:
    """Write the page."""
    cases = json.loads(RESULTS.read_text())["cases"]
    lines = [_INTRO]
    for name, epochs in sorted({(case["set"], case["epochs"]) for case in cases}):
        found = [case for case in cases if (case["set"], case["epochs"]) == (name, epochs)]
        full = np.mean([case["full"] for case in found])
        lines += [
            f"\n## {name}, {epochs} epoch{'s' * (epochs > 1)} for each net\n",
            f"{_SETS[name]}; trained to {100 * full:.1f} %.\n",
            "| way | 50 % | 25 % | 12 % | 6 % | mean | widths | cases |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for way in dict.fromkeys(case["way"] for case in found):
            lines.append(_describe(way, [case for case in found if case["way"] == way]))
    PAGE.write_text("\n".join(lines) + "\n")


def _describe(way: str, cases: Sequence[dict[str, Any]]) -> str:
    tests = np.array([[100 * row["test"] for row in case["rows"]] for case in cases])
    cells = [_spell(column) for column in [*tests.T, tests.mean(axis=1)]]
    share = np.mean([case["choosing_seconds"] / case["seconds"] for case in cases])
    return f"| {way} | {' | '.join(cells)} | {100 * share:.0f} % | {len(cases)} |"


def _spell(values: np.ndarray) -> str:
    text = f"{values.mean():.1f}"
    if len(values) > 1:
        text += f" ({values.std(ddof=1) / len(values) ** 0.5:.1f})"
    return text


if __name__ == "__main__":
    write_page()
