"""The page of the wide zoo, from the results of ``benchmarks/discovery.py --zoo wide``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from zoo_one import is_exact


Row = dict[str, Any]
FAST_S = 3.0

INTRODUCTION = """\
# Nets of many packages

Written by `python benchmarks/discovery.py --zoo wide` at commit {commit}, on {cores} cores ({processor}), one thread, torch {torch}.
{missing}
**{n_built} of {n_all} nets build; {n_exact} of {n_compared} that were compared are exact in value and gradient; {n_counted} of {n_compared} are counted exactly;
{n_exported} of {n_tried} that were tried go through `torch.export`; {n_small} of {n_built} ({share:.0f} %) can lose 90 % of their parameters besides embeddings.**
Discovery takes {median:.1f} s in the middle, {n_fast} of {n_timed} take {limit:.0f} s or less, and the worst is {worst} with {worst_s:.1f} s.

Every net has weights that nobody trained, moved a little, and runs in a process of its own; nets of transformers are small ones
from a configuration. `params` and `macs`: how much the smallest subnet saves; `besides words`: the same without the tables of embeddings, and
what is tied to them. `exact`: the largest difference of the narrow run from the extracted plain net, of values and of gradients, at as many
random widths as stand in `widths`. `counted`: the closed forms of parameters and macs equal those of the extracted nets, as PyTorch counts
them. `export`: the largest difference of the exported program. `seconds`: of the processor, for one `build_supernet` on two small samples, while
other programs ran on the same cores: torchvision's resnet50 takes half as long in [the table of its nets](models.md). The table is in the order of the packages.

| net | params | macs | besides words | widths | exact | counted | export | seconds |
|---|---|---|---|---|---|---|---|---|
"""

REFUSED = """
## What does not build

| net | why |
|---|---|
"""

FROZEN = """
## What keeps its full width, and why

Besides the sizes of the output. The number of dimensions, and the first of them.

| net | dimensions | why | the first |
|---|---|---|---|
"""
_OUTPUT = "output of the model fixes it"
_MOST = 160  # characters of a reason


def write_zoo_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    rows: list[Row] = results["nets"]
    built = [row for row in rows if "seconds" in row]
    refused = [row for row in rows if "seconds" not in row]
    page = _introduce(results, rows, built)
    page += "".join(_line(_describe(row)) for row in built)
    if refused:
        page += REFUSED + "".join(_line([row["name"], row["error"]]) for row in refused)
    frozen = [line for row in built for line in _list_frozen(row)]
    return page + FROZEN + "".join(map(_line, frozen))


def _introduce(results: dict[str, Any], rows: Sequence[Row], built: Sequence[Row]) -> str:
    machine, missing = results["machine"], results["missing"]
    compared = [row for row in built if "output_difference" in row]
    tried = [row for row in built if "export_difference" in row or "export_error" in row]
    small = [row for row in built if row.get("params_go_besides_words", 0) >= 0.9]
    worst = max(built, key=lambda row: float(row["seconds"]))
    return INTRODUCTION.format(
        commit=", ".join(sorted({row["commit"] for row in rows})),
        cores=machine["n_cores"],
        processor=machine["processor"],
        torch=machine["versions"]["torch"],
        missing=f"Missing, and left out: {', '.join(missing)}.\n" if missing else "",
        n_all=len(rows),
        n_built=len(built),
        n_compared=len(compared),
        n_exact=sum(map(is_exact, compared)),
        n_counted=sum(map(_is_counted, compared)),
        n_exported=sum("export_difference" in row for row in tried),
        n_tried=len(tried),
        n_small=len(small),
        share=100 * len(small) / len(built),
        median=statistics.median(row["seconds"] for row in built),
        n_fast=sum(row["seconds"] <= FAST_S for row in built),
        n_timed=len(built),
        limit=FAST_S,
        worst=worst["name"],
        worst_s=worst["seconds"],
    )


def _describe(row: Row) -> list[object]:
    shares = ("params_go", "macs_go", "params_go_besides_words")
    cells: list[object] = [row["name"], *(_percent(row.get(key)) for key in shares)]
    if "output_difference" not in row:
        return [*cells, "", row["error"], "", "", f"{row['seconds']:.2f}"]
    differences = f"{row['output_difference']:.1g}, {row['gradient_difference']:.1g}"
    counted = "yes" if _is_counted(row) else _tell_miscount(row)
    export = row.get("export_difference")
    return [
        *cells,
        row["n_widths"],
        differences if is_exact(row) else f"**no**: {differences}",
        counted,
        row.get("export_error", "") if export is None else f"{export:.1g}",
        f"{row['seconds']:.2f}",
    ]


def _is_counted(row: Row) -> bool:
    return row["params_error"] == 0 and abs(row["macs_error"]) < 1e-9


def _tell_miscount(row: Row) -> str:
    said = f", said: {', '.join(row['uncounted'][:2])}" if row["uncounted"] else ""
    return f"params {row['params_error']:+d}, macs {100 * row['macs_error']:+.2g} %{said}"


def _list_frozen(row: Row) -> list[list[object]]:
    return [
        [row["name"], n, reason[:_MOST] + ("…" if len(reason) > _MOST else ""), f"`{names[0]}`"]
        for reason, n, names in row.get("frozen", [])
        if reason != _OUTPUT
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _line(cells: Sequence[object]) -> str:
    texts = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(texts) + " |\n"
