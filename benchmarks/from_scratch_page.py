"""The page of the benchmark against training alone, ``docs/from-scratch.md``, from its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Sequence
from statistics import fmean
from statistics import stdev
from typing import Any

from provenance import ROOT


PAGE = ROOT / "docs" / "from-scratch.md"
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = {
    "pipeline": "the pipeline",
    "same_widths_alone": "same widths, alone",
    "uniform_alone": "uniform widths, alone",
}


def write_page() -> None:
    """Write the page from whatever results there are."""
    lines = [
        "# Against training from scratch",
        "",
        'Is a subnet of the supernet worth more than the same net trained from new weights? ("Rethinking the Value of Network Pruning",',
        "Liu et al., 2019, arXiv [1810.05270](https://arxiv.org/abs/1810.05270).) Written by `python benchmarks/from_scratch.py`.",
        "",
        "All multiply-adds of a pipeline (training of the supernet and scoring of its path, every evaluation of the search, finetuning with",
        "its teacher; backward passes twice their forward passes) are shared evenly over the members it delivers. Each network trained alone has",
        "one share, so that small ones train for many more epochs; it learns from labels, with the same optimizer, since it has no teacher.",
        "For each budget the delivered member counts that is best on validation. Test accuracy in percent, mean over seeds, with",
        "the standard deviation in brackets.",
        "",
    ]
    for name in ("from_scratch.json", "from_scratch_gpu.json"):
        file = RESULTS / name
        if file.exists():
            lines += _write_results(json.loads(file.read_text()))
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _write_results(results: dict[str, Any]) -> Iterator[str]:
    for data in dict.fromkeys(run["data"] for run in results["runs"]):
        runs = [run for run in results["runs"] if run["data"] == data]
        commits = ", ".join(sorted({run["commit"] for run in runs}))
        spent = fmean(run["dense_epochs_in_all"] for run in runs)
        n_members = fmean(run["n_members"] for run in runs)
        yield f"## {data}, preset {results['preset']}"
        yield ""
        yield (
            f"{len(runs)} seed{'s' if len(runs) > 1 else ''}; a pipeline costs as much as {spent:.0f} epochs of the full net and delivers "
            f"{n_members:.0f} members. Code of {commits}."
        )
        yield ""
        yield f"| macs at most | {' | '.join(COLUMNS.values())} | difference to the better one | epochs alone |"
        yield f"|---|{'---|' * (len(COLUMNS) + 2)}"
        for place, row in enumerate(runs[0]["rows"]):
            rows = [run["rows"][place] for run in runs]
            cells = [_spread([100 * row[key] for row in rows]) for key in COLUMNS]
            alone = [fmean(row[key] for row in rows) for key in list(COLUMNS)[1:]]
            ahead = 100 * (fmean(row["pipeline"] for row in rows) - max(alone))
            epochs = fmean(row["epochs_alone"] for row in rows)
            yield f"| {row['budget']:.0%} | {' | '.join(cells)} | {ahead:+.2f} | {epochs:.0f} |"
        yield ""
    yield from _explain()


def _explain() -> Iterator[str]:
    yield "## What it says"
    yield ""
    yield "At this scale the answer is that of the paper: for the same compute, training alone is as good or better, most of all for the smallest networks. A share is some"
    yield "hundreds of epochs for a network of 2 % of the macs, where the pipeline finetunes it for a few: every member gets as many epochs as the others,"
    yield "and the teacher's forward pass costs more than all else of a small member's step. What the pipeline is worth beside it is that the widths are found and"
    yield "the whole front is there; who wants one small network, and knows its widths, should train it alone, or finetune it far longer (`finetune.epochs`)."
    yield ""


def _spread(values: Sequence[float]) -> str:
    mean = f"{fmean(values):.2f}"
    return f"{mean} ({stdev(values):.2f})" if len(values) > 1 else mean
