"""One net of the wide zoo: what is measured of it, step by step.

Its row is written after every step, so that whoever waits for the process knows how far it came.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from exactness import compare_runs
from exactness import join_rows
from exactness import measure_response
from exactness import stir
from exactness import try_export
from torch import nn
from torch.nn.attention import SDPBackend
from torch.nn.attention import sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from zoo_nets import FILES
from zoo_nets import ZooNet
from zoo_nets import find_missing
from zoo_nets import list_nets

from dpod_search.errors import DpodSearchError
from dpod_search.footprint import build_footprint
from dpod_search.inputs import ModelCall
from dpod_search.inputs import read_example
from dpod_search.rng import numpy_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


N_WIDTHS = 5
N_SAMPLES = 2
N_STIRRED = 8
EXACT = 1e-5
Row = dict[str, Any]


def measure(
    net: ZooNet, n_widths: int, write: Callable[[Row], None], *, exports: bool = True
) -> None:
    """Measure a net, and write its row after every step.

    Args:
        net: The net.
        n_widths: How many random widths.
        exports: The net that is cut out at the first of them goes through ``torch.export``.
        write: Takes the row so far.
    """
    row: Row = {"name": net.name}

    def step(title: str, work: Callable[[], Row]) -> bool:
        write({**row, "error": f"did not end while {title}"})
        start = time.perf_counter()
        try:
            row.update(work())
        except Exception as error:  # noqa: BLE001  (whatever a net raises is a finding)
            kind = "" if isinstance(error, DpodSearchError) else f"{type(error).__name__}: "
            row["error"] = f"{title}: {kind}{shorten(error)}"
            row["traceback"] = traceback.format_exc()[-4000:]
        row.setdefault("steps", {})[title] = round(time.perf_counter() - start, 2)
        write(row)
        return "error" not in row

    held: dict[str, Any] = {}
    if (
        step("making the net", lambda: make(net, held))
        and step("building", lambda: discover(net, held))
        and step("counting", lambda: describe(held["supernet"]))
        and step("comparing", lambda: compare(net, held, n_widths))
        and exports
    ):
        step("exporting", lambda: export(net, held))


def make(net: ZooNet, held: dict[str, Any]) -> Row:
    """Make the net, with weights and statistics on which its output depends."""
    torch.manual_seed(0)
    model = net.build().eval()
    stir(model, read_example(net.make_example(N_STIRRED)), net.name)
    example = net.make_example(N_SAMPLES)
    held["model"], held["example"] = model, example
    call = read_example(example)
    return {"response": measure_response(model, call), "example": str(call)}


def discover(net: ZooNet, held: dict[str, Any]) -> Row:
    """Build the supernet, and say in how many seconds of the processor."""
    start = time.process_time()
    held["supernet"] = build_supernet(held["model"], held["example"]).eval()
    return {"seconds": time.process_time() - start}


def warm_up() -> None:
    """Let PyTorch import what it imports when something is traced for the first time."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    build_supernet(net.eval(), torch.randn(2, 3, 8, 8))


def describe(supernet: Supernet) -> Row:
    """Say what can go, and what cannot and why."""
    footprint, space = build_footprint(supernet), supernet.space
    full, least = footprint.measure(space.full), footprint.measure(space.smallest)
    words = [count_words(extract_subnet(supernet, w)) for w in (space.full, space.smallest)]
    frozen: dict[str, list[Any]] = {}
    for item in supernet.grouping.frozen:
        frozen.setdefault("; ".join(map(drop_places, item.reasons)), []).append(item.name)
    return {
        "n_groups": len(supernet.groups),
        "params": full["params"],
        "macs": full["macs"],
        "params_go": 1 - least["params"] / full["params"],
        "macs_go": 1 - least["macs"] / full["macs"] if full["macs"] else 0.0,
        "params_go_besides_words": 1 - (least["params"] - words[1]) / (full["params"] - words[0]),
        "frozen": [[reason, len(names), names[:3]] for reason, names in frozen.items()],
        "uncounted": [drop_places(where) for where in supernet.grouping.uncounted],
    }


def compare(net: ZooNet, held: dict[str, Any], n_widths: int) -> Row:
    """Compare at random widths; once more in double precision where rounding may be the cause."""
    supernet, call = held["supernet"], read_example(held["example"])
    one = read_example(net.make_example(1))
    row = compare_at(supernet, call, one, net.name, n_widths)
    held["extracted"] = extract_subnet(supernet, draw_widths(supernet, net.name, 1)[0]).eval()
    if is_exact(row):
        return row
    single = {f"single_{k}": row[k] for k in ("output_difference", "gradient_difference")}
    call, one = (c.map(lambda t: t.double() if t.is_floating_point() else t) for c in (call, one))
    try:
        return {**compare_at(supernet.double(), call, one, net.name, n_widths), **single}
    except RuntimeError:  # its code asks for float32
        return row


def compare_at(
    supernet: Supernet, call: ModelCall, one: ModelCall, name: str, n_widths: int
) -> Row:
    """Compare values, gradients and counts at random widths; what is counted is of one sample."""
    footprint = build_footprint(supernet)
    rows = []
    for widths in draw_widths(supernet, name, n_widths):
        extracted = extract_subnet(supernet, widths).eval()
        closed = footprint.measure(widths)
        macs = closest(closed["macs"], count_macs(extracted, one), count_macs(extracted, call))
        rows.append(
            {
                **compare_runs(supernet, extracted, widths, call),
                "params_error": closed["params"] - sum(p.numel() for p in extracted.parameters()),
                "macs_error": closed["macs"] / macs - 1 if macs else float(closed["macs"]),
            }
        )
    return join_rows(rows)


def closest(wanted: float, *counts: float) -> float:
    """Return the count that is closest.

    What a net computes once a batch, a table of its biases say, is counted right with one sample,
    and what it computes of all pairs of samples with as many as it was traced with.
    """
    return min(counts, key=lambda count: abs(count - wanted))


def export(net: ZooNet, held: dict[str, Any]) -> Row:
    """Export a net that was cut out."""
    return try_export(held["extracted"], read_example(held["example"]))


def draw_widths(supernet: Supernet, name: str, n: int) -> list[Any]:
    """Draw random widths, for equal names the same."""
    rng = numpy_generator(0, "zoo", name)
    return [supernet.space.sample(rng) for _ in range(n)]


def is_exact(row: Row) -> bool:
    """Say whether values and gradients of a row are the same but for rounding."""
    return (
        row["output_difference"] <= EXACT
        and row["gradient_difference"] <= EXACT
        and row["n_gradients_outside"] == 0
    )


def count_macs(model: nn.Module, call: ModelCall) -> float:
    """Count the multiply-accumulates per sample of every product and convolution that runs.

    PyTorch's counter does not see into its fused attentions and recurrent layers, which are
    taken apart here.
    """
    counter = FlopCounterMode(display=False)
    learnt = [p for p in model.parameters() if p.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)  # the counter hooks into gradients where it finds any
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            counter,
        ):
            call.run(model)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
        for parameter in learnt:
            parameter.requires_grad_(True)
    return counter.get_total_flops() / (2 * call.n_samples)


def count_words(model: nn.Module) -> int:
    """Count the parameters of embeddings, and of heads that are tied to them."""
    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(table.numel() for table in tables.values())


def drop_places(reason: str) -> str:
    """Leave out the files and lines of a reason, which are those of one machine."""
    return re.sub(r" \((?:at )?[^() ]*:\d+\)", "", reason)


def shorten(error: Exception) -> str:
    """Return one line of an error, without the folders of this machine."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return drop_places(line)[:400]


def be_ready() -> None:
    """Import and warm up what all nets need: one thread, so that processes can be forked."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    missing = find_missing()
    for package in FILES:
        if package not in ("own", *missing):
            importlib.import_module(package)
    warm_up()


def measure_into(name: str, file: Path, n_widths: int, exports: bool) -> None:
    """Measure a net by its name, and write its row into a file after every step."""
    aside = file.with_name(f"{file.name}.part")

    def write(row: Row) -> None:
        aside.write_text(json.dumps(row))
        aside.replace(file)

    measure(list_nets()[name], n_widths, write, exports=exports)
