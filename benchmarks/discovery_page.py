"""The page of what discovery finds, from the results of ``benchmarks/discovery.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


Row = dict[str, Any]

INTRODUCTION = """\
# What can be narrowed in torchvision's nets

Written by `python benchmarks/discovery.py` at commit {commit}, on {cores} cores ({processor}), one thread, torch {torch}.

`groups`: what one width each is chosen for, by kind. `params` and `macs`: how much of the full net the smallest
subnet (width ratio 1/8) saves. `conv`: how much of the convolutions' parameters lies in layers that can be narrowed.
`seconds`: processor seconds of `build_supernet` at the net's own picture size (224 pixels, inception 299), the best of three
in one process.
"""

EXACTNESS = """
## Is it exact?

At {n_widths} random widths a net, with untrained weights that were moved a little and BatchNorm statistics of random
pictures, in evaluation mode. `output` and `gradients`: the largest difference of the narrow run from the extracted plain
net, relative to the largest output, and to the largest element of each parameter's gradient (or a thousandth of the
net's largest, where a gradient vanishes but for rounding). Gradients of the supernet outside the active slices must be 0.
`params` and `macs`: the closed form equals counting the extracted net with PyTorch's own counter. `export`:
`torch.export` took the nets extracted at the first {n_exported} of these widths; the largest difference of the program's
output. Pictures are of `pixels`, smaller than the nets' own where they take it.

| net | pixels | output | gradients | gradients outside | params | macs | export |
|---|---|---|---|---|---|---|---|
"""

PEAKS = """
## Peak memory of activations

Counted by watching every storage while the extracted nets of the table above run on one picture; weights are not in it,
the picture is. The graph is run node by node, each value freed after its last use: `operations` looks after every
operation, scratch inside a node included (the indices of a max-pooling, the inside of an attention); `nodes` looks at the
ends of nodes only. The first two columns are the largest error of `peak_bytes` against each. `operations / nodes` says how
much the scratch adds, and `eager / operations` compares simply calling the net, in which Python's variables keep values for
longer, with the graph; both are the largest met.

| net | error against operations | error against nodes | operations / nodes | eager / operations |
|---|---|---|---|---|
"""

FROZEN = """
## What keeps its full width, and why

Every frozen dimension besides the classes of the output. `dimensions` counts them; their full widths are in brackets.

| net | dimensions | why | the first of them |
|---|---|---|---|
"""


# Measured by hand: timm is no dependency, of the benchmarks neither.
TIMM = """
## Nets of timm

Built by hand with timm 1.0.31 at 96 pixels (`vit_tiny` 224), untrained; `before` is without what follows a subclass's own
`forward`. In all of these nets only the classes of the output keep their width now, and all macs are counted.

| net | params before | params | macs before | macs |
|---|---|---|---|---|
| resnet18 | 98.8 % | 98.8 % | 98.7 % | 98.7 % |
| mobilenetv3_small_100 | 30.9 % | 94.4 % | 53.1 % | 97.0 % |
| efficientnet_b0 | 48.8 % | 96.4 % | 54.6 % | 98.4 % |
| convnext_atto | 83.9 % | 98.8 % | 93.1 % | 99.7 % |
| vit_tiny_patch16_224 | 93.4 % | 99.2 % | 97.7 % | 99.7 % |

Not yet: `tf_efficientnet_b0`, `efficientvit_b0` and `mobilevit_xs` branch on sizes, which cannot be traced; timm's `swin_tiny`
saves 79.6 % of the parameters (`roll` and a mask freeze its embedding), `nfnet_f0` 71.4 % (standardised convolutions).
"""


def write_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    rows: list[Row] = results["nets"]
    measured = [row for row in rows if "error" not in row]
    machine = results["machine"]
    page = INTRODUCTION.format(
        commit=", ".join(sorted({row["commit"] for row in rows})),
        cores=machine["n_cores"],
        processor=machine["processor"],
        torch=machine["versions"]["torch"],
    )
    page += "\n| net | groups | params | macs | conv | frozen besides the output | not counted | seconds |\n"
    page += "|---|---|---|---|---|---|---|---|\n"
    page += "".join(_found(row) for row in rows)
    page += EXACTNESS.format(
        n_widths=min(row["n_widths"] for row in measured),
        n_exported=max(row["n_exported"] for row in measured),
    )
    page += "".join(_exact(row) for row in measured)
    page += PEAKS + "".join(_peak(row) for row in measured)
    frozen = [line for row in measured for line in _frozen(row)]
    if frozen:
        page += FROZEN + "".join(frozen)
    return page + TIMM


def _found(row: Row) -> str:
    if "error" in row:
        return _line([row["name"], row["error"], *[""] * 6])
    kinds = row["groups_by_kind"]
    parts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return _line(
        [
            row["name"],
            parts,
            _percent(row["shrinkable"]["params"]),
            _percent(row["shrinkable"]["macs"]),
            "" if row["conv_params"] is None else _percent(row["conv_params"]),
            len(_besides_output(row)) or "",
            len(row["uncounted"]) or "",
            f"{row['seconds']:.2f}",
        ]
    )


def _exact(row: Row) -> str:
    return _line(
        [
            row["name"],
            row["picture_size"],
            f"{row['output_difference']:.1g}",
            f"{row['gradient_difference']:.1g}",
            row["n_gradients_outside"],
            "yes" if row["params_error"] == 0 else f"off by {row['params_error']}",
            "yes" if row["macs_error"] == 0 else f"off by {100 * row['macs_error']:.2g} %",
            row.get("export_error") or f"{row['export_difference']:.1g}",
        ]
    )


def _peak(row: Row) -> str:
    errors = (row.get("peak_error_of_operations"), row.get("peak_error_of_nodes"))
    return _line(
        [
            row["name"],
            *("no closed form" if e is None else f"{100 * e:.2g} %" for e in errors),
            f"{row['operations_over_nodes']:.2f}",
            f"{row['eager_over_operations']:.2f}",
        ]
    )


def _frozen(row: Row) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, width, reasons in _besides_output(row):
        by_reason.setdefault("; ".join(reasons), []).append(f"`{name}` ({width})")
    return [
        _line([row["name"], len(names), reason, ", ".join(names[:3])])
        for reason, names in by_reason.items()
    ]


def _besides_output(row: Row) -> list[Any]:
    return [f for f in row["frozen"] if f[2] != ["output of the model fixes it"]]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"
