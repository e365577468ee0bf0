"""How wrong is the latency model on subnets that it has not seen, and what does its table give?

Beside it stands the line a + b macs, fitted to the same subnets so that relative errors are small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace
from typing import Any

import numpy as np
from latency_model_setup import Options
from latency_model_setup import console
from latency_model_setup import find_table
from latency_model_setup import make_supernet

from dpod_search.errors import DataError
from dpod_search.footprint import build_footprint
from dpod_search.latency import LatencyModel
from dpod_search.latency import LatencyTable
from dpod_search.latency import fit_latency
from dpod_search.latency import measure_error
from dpod_search.supernet import Supernet
from dpod_search.tabulated import FloatArray


MAX_ERROR = 10.0  # a model is shown here however wrong it is


def measure_errors(options: Options, store: Callable[[str, dict[str, Any]], None]) -> None:
    """Measure the error of every net's model on every backend."""
    for name in options.nets:
        supernet = make_supernet(name)
        for backend in options.backends:
            measured = find_table(options, supernet, name, backend)
            found = compare_models(supernet, measured.table, options.settings.n_held_out)
            found |= {"n_cells": measured.n_cells, "seconds": measured.seconds}
            store(f"{name}, {backend}", found)
            console.print(name, backend, found["model"], found["macs"])


def fit_model(supernet: Supernet, table: LatencyTable, n_held_out: int) -> LatencyModel:
    """Fit the latency model that a table gives."""
    return fit_latency(supernet, table, n_held_out=n_held_out, max_error=MAX_ERROR)


def compare_models(supernet: Supernet, table: LatencyTable, n_held_out: int) -> dict[str, Any]:
    """Predict the held-out subnets by the model and by macs alone."""
    widths = np.array([net.widths for net in table.nets])
    ms = np.array([net.ms for net in table.nets])
    n_fit = len(ms) - n_held_out
    macs = build_footprint(supernet).table(widths)["macs"].astype(float)
    line = fit_line(macs[:n_fit], ms[:n_fit])
    by_macs = line[0] + line[1] * macs[n_fit:]
    model = fit_model(supernet, table, n_held_out)
    predicted = model.table(widths[n_fit:])
    halves = [(net.high_ms - net.low_ms) / 2 / net.ms for net in table.nets]
    return {
        "n_fit": n_fit,
        "model": asdict(model.error),
        "weights": dict(model.weights),
        "macs": asdict(measure_error(by_macs, ms[n_fit:])),
        "interval": float(np.median(halves)),
        "widest_interval": float(np.max(halves)),
        "span": [float(ms.min()), float(ms.max())],
        "held_out": {
            "measured_ms": _round(ms[n_fit:]),
            "predicted_ms": _round(predicted),
            "by_macs_ms": _round(by_macs),
        },
        "alike": measure_alike(supernet, table, n_held_out),
    }


def fit_line(macs: FloatArray, ms: FloatArray) -> FloatArray:
    """Return a and b of a + b macs with the least relative squared error."""
    columns = np.column_stack([1 / ms, macs / ms])
    weights: FloatArray = np.linalg.lstsq(columns, np.ones(len(ms)), rcond=None)[0]
    return weights


def measure_alike(supernet: Supernet, table: LatencyTable, n_held_out: int) -> dict[str, float]:
    """Fit and hold out the same subnets in 20 other random splits: how much is luck of the split?"""
    rng = np.random.default_rng(0)
    errors, ranks = [], []
    for _ in range(20):
        order = rng.permutation(len(table.nets))
        other = replace(table, nets=tuple(table.nets[i] for i in order))
        try:
            error = fit_model(supernet, other, n_held_out).error
        except DataError:
            continue
        errors.append(error.mape)
        ranks.append(error.rank_correlation)
    return {
        "mape": float(np.mean(errors)),
        "worst_mape": float(np.max(errors)),
        "rank_correlation": float(np.mean(ranks)),
        "worst_rank_correlation": float(np.min(ranks)),
    }


def _round(values: FloatArray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
