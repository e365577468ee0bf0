"""Grades what a supernet says of NATS-Bench's networks by what the published table says."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from width_table import EVALUATED
from width_table import Scores
from width_table import WidthTable

from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_front
from dpod_search.ranking import compute_kendall_tau
from dpod_search.ranking import compute_tau_by_cost
from dpod_search.ranking import compute_top_k_recall
from dpod_search.rng import numpy_generator
from dpod_search.search.forecast import Subnets
from dpod_search.search.forecast import forecast
from dpod_search.widths import IntArray


SEED = 0
TOP_K = 50
N_RANDOM = 100
N_KNOWN = (8, 16, 32)
N_DRAWS = 5


def describe_ranking(
    table: WidthTable, rows: IntArray, found: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Compare what predicts the published accuracy of some networks, and how well.

    Args:
        table: The published networks.
        rows: Those that were evaluated.
        found: Their ``accuracy`` and ``confidence`` on the supernet.

    Returns:
        For these two, params and macs: tau over all, the recall of the best tenth, and tau within
        the ten deciles of macs, each with its interval.
    """
    true, macs = table.accuracy[rows], table.macs[rows]
    predictors = {
        "supernet accuracy": np.array(found["accuracy"]),
        "supernet confidence": np.array(found["confidence"]),
        "params": table.params[rows],
        "macs": macs,
    }
    described = {}
    for name, predicted in predictors.items():
        # The same networks are drawn for each predictor.
        tau = compute_kendall_tau(predicted, true, generator=_draws())
        recall = compute_top_k_recall(predicted, true, TOP_K, generator=_draws())
        bands = compute_tau_by_cost(predicted, true, macs, generator=_draws())
        described[name] = {
            "tau": asdict(tau),
            f"top {TOP_K} recall": asdict(recall),
            "deciles": [asdict(band) for band in bands],
            "mean of deciles": fmean(band.value for band in bands),
        }
    return described


def describe_forecasts(
    table: WidthTable, rows: IntArray, found: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Foretell the published accuracy of networks from that of a few, and see how well.

    Args:
        table: The published networks.
        rows: Those that were evaluated.
        found: Their ``accuracy`` on the supernet.

    Returns:
        By the number of published accuracies that are known: tau over the other networks and the mean
        of its deciles, with and without what the supernet says, and of params; means over draws.
    """
    true, macs, params = table.accuracy[rows], table.macs[rows], table.params[rows]
    costs = np.column_stack([macs, params]).astype(float)
    widths = table.channels[rows].astype(float)
    scores = {
        "two fidelities": np.array(found["accuracy"]),
        "without the supernet": np.full(len(rows), 0.5),
    }
    described: dict[str, Any] = {}
    for n_known in N_KNOWN:
        draws: dict[str, list[list[float]]] = {}
        for draw in range(N_DRAWS):
            rng = numpy_generator(SEED, "nats/known", draw)
            known = rng.choice(len(rows), n_known, replace=False)
            rest = np.setdiff1d(np.arange(len(rows)), known)
            predictors = {"params": params.astype(float)}
            for name, before in scores.items():
                subnets = Subnets(before, costs, widths)
                predictors[name] = forecast(subnets, known.tolist(), true[known].tolist()).mean
            for name, predicted in predictors.items():
                tau = compute_kendall_tau(predicted[rest], true[rest], generator=_draws()).value
                bands = compute_tau_by_cost(
                    predicted[rest], true[rest], macs[rest], generator=_draws()
                )
                draws.setdefault(name, []).append([tau, *(band.value for band in bands)])
        means = {name: np.mean(values, axis=0) for name, values in draws.items()}
        described[str(n_known)] = {
            name: {"tau": float(mean[0]), "deciles": mean[1:].round(3).tolist()}
            for name, mean in means.items()
        }
    return described


def grade_fronts(table: WidthTable, trials: Path) -> dict[str, Any]:
    """Grade the front that a search picked by the published accuracies of its members.

    Args:
        table: The published networks.
        trials: The file ``trials.csv`` of a search.

    Returns:
        By who picked, the gap to the table's front in points, as ``search_table.py`` has it, and
        the number of networks picked: the pipeline; params, which sees all networks of the table,
        with as many picks as the pipeline has and with all of its front; chance, which sees as
        many as the search evaluated (mean over draws); and, as what the pipeline could have had,
        the best among the networks it evaluated.
    """
    scores = Scores(table)
    evaluated, front = read_trials(table, trials)
    every = np.arange(len(table.channels))
    rng = numpy_generator(SEED, "nats/random-fronts")
    by_chance = [
        _pick(table, rng.choice(every, len(evaluated), replace=False), rng.random(len(evaluated)))
        for _ in range(N_RANDOM)
    ]
    by_params = _pick(table, every, table.params.astype(float))
    return {
        "pipeline": _grade(scores, [front]),
        "params": _grade(scores, [_thin(table, by_params, len(front))]),
        "params, all of its front": _grade(scores, [by_params]),
        "random": _grade(scores, by_chance),
        "best of the evaluated": _grade(scores, [evaluated]),
    }


def read_trials(table: WidthTable, trials: Path) -> tuple[IntArray, IntArray]:
    """Return the rows of the networks that a search evaluated, and of those on its front."""
    with trials.open(newline="") as file:
        records = [record for record in csv.DictReader(file) if record["fate"] in EVALUATED]
    columns = [name for name in records[0] if name.startswith("width:")]
    active = [tuple(int(record[name]) for name in columns) for record in records]
    is_on_front = np.array([record["on_front"] == "1" for record in records])
    rows = table.find_rows(active)
    return rows, rows[is_on_front]


def _pick(table: WidthTable, rows: IntArray, predicted: FloatArray) -> IntArray:
    """Return the networks on the front of a prediction against macs."""
    return rows[find_front(np.column_stack([-predicted, table.macs[rows].astype(float)]))]


def _thin(table: WidthTable, rows: IntArray, n: int) -> IntArray:
    """Keep n networks of a front, or fewer: those nearest to n costs evenly spaced in log macs."""
    logs = np.log(table.macs[rows])
    wanted = np.linspace(logs.min(), logs.max(), n)
    kept: IntArray = rows[np.unique(np.abs(logs[None] - wanted[:, None]).argmin(axis=1))]
    return kept


def _grade(scores: Scores, fronts: Sequence[IntArray]) -> dict[str, float]:
    return {
        "gap": fmean(scores.of(front)["gap"] for front in fronts),
        "n_networks": fmean(len(front) for front in fronts),
    }


def _draws() -> np.random.Generator:
    return numpy_generator(SEED, "nats/bootstrap")
