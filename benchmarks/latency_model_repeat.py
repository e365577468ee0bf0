"""Do two measurements of one subnet agree that are an hour of load apart?

Some subnets are measured again and again over an hour, each time by a new process, on the machine
as it is and with all its cores loaded, each with a bench of its own. All benches have the same nominal
milliseconds of the reference net, as tables have that are measured at different times. Beside the
corrected latency stand the medians of the very same passes by the clock on the wall and by the
thread's processor time, which no reference corrects.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from latency_model_load import load_machine
from latency_model_setup import Options
from latency_model_setup import console
from latency_model_setup import make_supernet

from dpod_search.latency import Bench
from dpod_search.latency.layers import sample_subnets
from dpod_search.latency.measuring import AGREE_NETS
from dpod_search.latency.measuring import NET_ROUNDS
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import find_reference
from dpod_search.latency.request import make_images
from dpod_search.latency.rounds import measure_in_rounds
from dpod_search.rng import numpy_generator
from dpod_search.supernet import Supernet


NET = "resnet20"
N_SUBNETS = 6
SECONDS = 1.5  # for each subnet each time
CLOCKS = ("corrected", "processor", "wall")
COLUMNS = (*CLOCKS, "drift", "half")
STATES = ("quiet", "loaded")


@dataclass
class TimedRun:
    """Runs a net, and notes what each pass took by clocks that nothing corrects."""

    run: Callable[[], object]
    walls: list[float] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        """Run it once."""
        wall, processor = time.perf_counter(), time.thread_time()
        self.run()
        self.processors.append(time.thread_time() - processor)
        self.walls.append(time.perf_counter() - wall)


def draw_subnets() -> list[tuple[int, ...]]:
    """Return the widths of the subnets: the full net, and others of all sizes."""
    supernet = make_supernet(NET)
    rng = numpy_generator(0, "latency_model", "repeat")
    return [widths.active for widths in sample_subnets(supernet.space, N_SUBNETS, rng)]


def measure_round(
    backend: str,
    subnets: list[tuple[int, ...]],
    nominal_ms: float | None,
    load: str,
    seconds: float,
) -> list[dict[str, Any]]:
    """Measure all subnets, quiet and loaded, each with a bench of its own.

    Args:
        backend: What runs them.
        subnets: Their widths.
        nominal_ms: Of the benches; None lets the first find it.
        load: Kind of the load.
        seconds: For each subnet.

    Returns:
        What was found quiet, and loaded.
    """
    supernet = make_supernet(NET)
    found = []
    for state in STATES:
        before, start = os.getloadavg()[0], time.time()
        with load_machine(load) if state == "loaded" else nullcontext():
            bench = Bench(backend, n_threads=1, nominal_ms=nominal_ms)
            with bench:
                # As a table is measured: in turn with a narrow net of the model, in rounds.
                images = make_images(supernet.example_shape, 1)
                bench.refer_to(extract_net(supernet, find_reference(supernet).widths), images)
                nominal_ms = bench.nominal_ms
                rows = _measure_all(bench, supernet, subnets, seconds)
        found.append(
            {"state": state, "start": start, "load": before, "nominal": nominal_ms, "nets": rows}
        )
    return found


def _measure_all(
    bench: Bench, supernet: Supernet, subnets: list[tuple[int, ...]], seconds: float
) -> list[dict[str, float]]:
    images = make_images(supernet.example_shape, 1)
    runs = [TimedRun(bench.prepare(extract_net(supernet, w), images)) for w in subnets]
    latencies = measure_in_rounds(
        len(runs),
        lambda i: bench.time_run(runs[i], max_seconds=seconds / NET_ROUNDS),
        numpy_generator(0, "latency_model", "rounds"),
        n_rounds=NET_ROUNDS,
        tolerance=AGREE_NETS,
        tell=lambda: None,
    )
    return [
        {
            "corrected": found.quiet_ms,
            "processor": 1e3 * statistics.median(run.processors),
            "wall": 1e3 * statistics.median(run.walls),
            "drift": found.drift,
            "half": (found.high_ms - found.low_ms) / 2 / found.median_ms,
        }
        for run, found in zip(runs, latencies, strict=True)
    ]


def measure_repeat(options: Options, store: Callable[[str, dict[str, Any]], None]) -> None:
    """Measure over the time asked for, and store what there is after each round."""
    subnets = draw_subnets()
    seconds = 0.1 if options.is_quick else SECONDS
    nominal: dict[str, float] = {}
    rounds: dict[str, list[dict[str, Any]]] = {backend: [] for backend in options.backends}
    begin = time.time()
    for i in range(options.n_rounds):
        due = begin + 60 * options.minutes * i / max(1, options.n_rounds - 1)
        time.sleep(max(0.0, due - time.time()))
        for backend, rows in rounds.items():
            rows += _measure_alone(backend, subnets, nominal.get(backend), options.load, seconds)
            nominal.setdefault(backend, rows[0]["nominal"])
            store(backend, describe(rows, options))
        console.print(
            f"round {i + 1} of {options.n_rounds}, {(time.time() - due) / 60:.1f} minutes"
        )


def _measure_alone(*arguments: Any) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(measure_round, *arguments).result()


def describe(rows: list[dict[str, Any]], options: Options) -> dict[str, Any]:
    """Say how far measurements of the same subnet differ.

    Args:
        rows: What was measured, one row each time, ascending in time.
        options: What was asked for.
    """
    ends = {
        (state, which): next(row for row in order if row["state"] == state)
        for state in STATES
        for which, order in (("first", rows), ("last", rows[::-1]))
    }
    pairs = []
    for before, after in itertools.product(STATES, repeat=2):
        first, last = ends[before, "first"], ends[after, "last"]
        differences = {clock: _compare(first, last, clock) for clock in CLOCKS}
        minutes = (last["start"] - first["start"]) / 60
        pairs.append({"first": before, "last": after, "minutes": minutes, **differences})
    return {
        "net": NET,
        "load_kind": options.load,
        "nominal_ms": rows[0]["nominal"],
        "minutes": (rows[-1]["start"] - rows[0]["start"]) / 60,
        "n_measurements": len(rows),
        "pairs": pairs,
        "all": {clock: _compare_all(rows, clock) for clock in CLOCKS},
        "subnets": [
            {state: _column(rows, state, i) for state in STATES}
            for i in range(len(rows[0]["nets"]))
        ],
        "load": {s: statistics.median(r["load"] for r in rows if r["state"] == s) for s in STATES},
        "drift": {
            state: statistics.median(
                net["drift"] for row in rows if row["state"] == state for net in row["nets"]
            )
            for state in STATES
        },
    }  # fmt: skip  (a table)


def _column(rows: list[dict[str, Any]], state: str, i: int) -> dict[str, list[float]]:
    nets = [row["nets"][i] for row in rows if row["state"] == state]
    return {name: [float(f"{net[name]:.5g}") for net in nets] for name in COLUMNS}


def _compare(first: dict[str, Any], last: dict[str, Any], clock: str) -> dict[str, Any]:
    """Return by how much each subnet took longer the second time, as a share of the first."""
    each = [b[clock] / a[clock] - 1 for a, b in zip(first["nets"], last["nets"], strict=True)]
    return {"each": each, "worst": max(map(abs, each))}


def _compare_all(rows: list[dict[str, Any]], clock: str) -> dict[str, float]:
    """Look at every two measurements of a subnet, whenever they were made."""
    found = []
    for i in range(len(rows[0]["nets"])):
        times = [row["nets"][i][clock] for row in rows]
        found += [abs(b / a - 1) for a, b in itertools.combinations(times, 2)]
    return {
        "median": statistics.median(found),
        "worst": max(found),
        "within": sum(difference <= 0.05 for difference in found) / len(found),
    }
