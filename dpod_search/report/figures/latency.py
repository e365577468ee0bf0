"""Measured latency against the macs that stand in for it."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dpod_search.pareto import FloatArray
from dpod_search.report.figures.drawing import Absent
from dpod_search.report.figures.drawing import Drawing
from dpod_search.report.figures.drawing import Table
from dpod_search.report.figures.hover import describe_trial
from dpod_search.report.figures.style import BLUE
from dpod_search.report.figures.style import axis
from dpod_search.report.figures.style import lay_out
from dpod_search.report.figures.style import log_axis
from dpod_search.report.run import Run


_NAME = "latency_ms"


def draw_latency(run: Run) -> Drawing | Absent:
    """Draw the latency of every measured trial against its macs."""
    if all(objective.name != _NAME for objective in run.search.objectives):
        return Absent("Latency was no objective of this search.", is_left_out=True)
    trials = [t for t in run.trials if _NAME in t.values and "macs" in t.values]
    if not trials:
        return Absent("No trial's latency was measured.")
    macs = [trial.values["macs"] for trial in trials]
    latencies = [trial.values[_NAME] for trial in trials]
    figure = go.Figure(
        go.Scatter(
            x=macs,
            y=latencies,
            mode="markers",
            marker={"color": BLUE, "size": 8},
            opacity=0.8,
            hovertext=[describe_trial(trial, run) for trial in trials],
            hoverinfo="text",
        )
    )
    figure.update_layout(
        xaxis=log_axis("MACs", macs), yaxis=axis("latency (ms)") | {"rangemode": "tozero"}
    )
    lay_out(figure, height=400)
    caption = (
        "Latency as the search measured it, against MACs: how well MACs stand in for time on "
        f"this machine. Their ranks correlate with {_correlate_ranks(macs, latencies):.2f}."
    )
    rows = zip([trial.number for trial in trials], macs, latencies, strict=True)
    return Drawing(figure, Table.from_rows(("trial", "macs", _NAME), rows), caption)


def _correlate_ranks(first: list[float], second: list[float]) -> float:
    ranks = _rank(first), _rank(second)
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _rank(values: list[float]) -> FloatArray:
    # Equal values share the mean of their places.
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: FloatArray = (ends - counts + ends - 1) / 2
    return means[places]
