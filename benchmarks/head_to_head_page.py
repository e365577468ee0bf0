"""The page of the head-to-head comparison, from its results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from head_to_head_common import BUDGETS
from head_to_head_common import SETS
from policies import compute_volume
from provenance import ROOT


RESULTS = ROOT / "benchmarks" / "results" / "head_to_head.json"
PAGE = ROOT / "docs" / "head-to-head.md"
OURS = "run"  # what the others are compared with
CHANCE = 0.1

_INTRO = """# Head to head

A trained net is to have 50, 25, 12 and 6 % of its macs. Each way has for each of the four nets the multiply-adds of as many epochs of the full net as the table says,
forward and backward, and the same recipe (SGD, rate .05 falling as a cosine, batches of 128, labels alone, statistics of norms estimated again). Test accuracy in per
cent, with standard errors over trained nets and seeds; *widths* is what choosing them took, as a share of all processor seconds. With one epoch for each net it is taken off the training; with four, in an
earlier state of the project, it was spent besides. Written by `python benchmarks/head_to_head.py`.

* *uniform*, *mdp*: `dpod-search mdp --method …` from `model.weights`; *run*: the defaults of a study with `model.weights`. *chain*: each net is cut from the next larger finetuned one.
* *Torch-Pruning*: version 1.6.1, one ratio for all layers by group magnitude, or its isomorphic pruning; *chain*: the same, each net pruned from the next larger finetuned one.
* *run, …*: one thing changed at a time: no chain; subnets judged as they are cut, without repair; half of the loss from the full net's answers to one view of each picture, charged; 24 or 96 trials searched in place of those that the share allows, charged.
* *from scratch*: uniform widths, new weights, rate .1.

A net of a seed that is trained again on another day differs by rounding: its accuracy, in the results, by up to 0.4 points on 5,000 pictures.
"""


def write_page() -> None:
    """Write the page."""
    cases = json.loads(RESULTS.read_text())["cases"]
    lines = [_INTRO]
    for name, epochs in sorted({(case["set"], case["epochs"]) for case in cases}):
        found = [case for case in cases if (case["set"], case["epochs"]) == (name, epochs)]
        chosen = SETS[name]
        sizes = " / ".join(f"{size:,}" for size in chosen.sizes)
        full = np.mean([case["full"] for case in found])
        lines += [
            f"\n## {name}, {epochs} epoch{'s' * (epochs > 1)} for each net\n",
            f"{chosen.text}; trained to {100 * full:.1f} %. {sizes} pictures to train, validate and test.\n",
            "| way | 50 % | 25 % | 12 % | 6 % | mean | widths | cases |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for way in dict.fromkeys(case["way"] for case in found):
            lines.append(_describe(way, [case for case in found if case["way"] == way]))
        lines += _compare(found)
    PAGE.write_text("\n".join(lines) + "\n")


def _describe(way: str, cases: Sequence[dict[str, Any]]) -> str:
    tests = np.array([_list_figures(case["rows"])[:-1] for case in cases])
    cells = [_spell(column) for column in tests.T]
    share = np.mean([case["choosing_seconds"] / case["seconds"] for case in cases])
    return f"| {way} | {' | '.join(cells)} | {100 * share:.0f} % | {len(cases)} |"


def _compare(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table of what run has above each other way, of the same nets and seeds."""
    known = {(case["way"], case["net_seed"], case["seed"]): case["rows"] for case in cases}
    lines = []
    for way in dict.fromkeys(case["way"] for case in cases if case["way"] != OURS):
        pairs = [
            (known[OURS, net, seed], rows)
            for (name, net, seed), rows in known.items()
            if name == way and (OURS, net, seed) in known
        ]
        if pairs:
            above = np.array(
                [[_list_figures(ours) - _list_figures(theirs)] for ours, theirs in pairs]
            )
            cells = [_spell(column, "+.2f") for column in above[:, 0].T]
            lines.append(f"| {way} | {' | '.join(cells)} | {len(pairs)} |")
    if not lines:
        return []
    return [
        "\nWhat *run* has above each, of the same trained nets and seeds:\n",
        "| way | 50 % | 25 % | 12 % | 6 % | mean | hypervolume | cases |",
        "|---|---|---|---|---|---|---|---|",
        *lines,
    ]


def _list_figures(rows: Sequence[dict[str, float]]) -> np.ndarray:
    """Return accuracy at each budget, their mean, and the hypervolume, in percent.

    A net above its budget has none, and its mean neither.
    """
    tests = [100 * row["test"] if row["macs_share"] <= row["budget"] else np.nan for row in rows]
    assert [row["budget"] for row in rows] == list(BUDGETS)
    return np.array([*tests, np.mean(tests), compute_volume(list(rows), CHANCE)])


def _spell(values: np.ndarray, spec: str = ".1f") -> str:
    if np.isnan(values).any():
        return "not reached"
    text = f"{values.mean():{spec}}"
    if len(values) > 1:
        text += f" ({values.std(ddof=1) / len(values) ** 0.5:{spec.removeprefix('+')}})"
    return text


if __name__ == "__main__":
    write_page()
