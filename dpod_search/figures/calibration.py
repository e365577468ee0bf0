"""Whether the surrogate kept its promises: coverage as the search went on, and false prunes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import SERIES
from dpod_search.figures.style import VERMILION
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.surrogate import Pair
from dpod_search.figures.surrogate import find_pairs
from dpod_search.figures.text import percent
from dpod_search.intervals import compute_wilson_interval
from dpod_search.quantities import label
from dpod_search.records.run import Run
from dpod_search.records.search import Audit


_MAX_BINS = 10
_MIN_PAIRS = 10


@dataclass(frozen=True)
class Rate:
    """A share that was counted, with its 95 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Successive trials that were predicted and then measured, and how many were covered."""

    first: int
    last: int
    n: int
    covered: Rate


def draw_calibration(run: Run) -> Drawing | Absent:
    """Draw coverage over the trials, and the false-prune rate of the audits."""
    found = {o.name: list(bin_pairs(find_pairs(run, o))) for o in run.search.objectives}
    found = {name: bins for name, bins in found.items() if bins}
    rates = list(_list_rates(run.search.audit))
    if not found:
        return Absent("No trial was predicted by the surrogate and then evaluated.")
    widths = [0.7, 0.3] if rates else [1.0]
    figure = make_subplots(rows=1, cols=len(widths), column_widths=widths, horizontal_spacing=0.14)
    for (name, bins), style in zip(found.items(), SERIES * len(found), strict=False):
        places = [(b.first + b.last) / 2 for b in bins]
        told = [f"trials {b.first} to {b.last}: {percent(b.covered.share)} of {b.n}" for b in bins]
        trace = _draw_rates(label(name), places, [b.covered for b in bins], told)
        trace.update(mode="lines+markers", line={"color": style.color, "dash": style.dash})
        trace.update(marker={"color": style.color, "symbol": style.symbol, "size": 9})
        figure.add_trace(trace, row=1, col=1)
    confidence = _find_confidence(run)
    if confidence is not None:
        figure.add_hline(confidence, line={"color": NEUTRAL, "dash": "dash"}, row=1, col=1)
    percents = {"tickformat": "~%", "range": [-0.03, 1.04]}
    figure.update_xaxes(axis("trial"), row=1, col=1)
    figure.update_yaxes(axis("inside the interval") | percents, row=1, col=1)
    if rates:
        told = [f"{name}: {percent(rate.share)}" for name, rate in rates]
        trace = _draw_rates("audit", [n for n, _ in rates], [rate for _, rate in rates], told)
        trace.update(mode="markers", marker={"color": VERMILION, "symbol": "square", "size": 10})
        figure.add_trace(trace, row=1, col=2)
        figure.update_xaxes(axis("") | {"range": [-0.6, len(rates) - 0.4]}, row=1, col=2)
        figure.update_yaxes(axis("share") | percents, row=1, col=2)
    lay_out(figure, height=380)
    return Drawing(figure, _tabulate(found, rates), _caption(run, confidence))


def bin_pairs(pairs: list[Pair]) -> Iterator[Bin]:
    """Cut pairs, in the order of their trials, into at most ten bins of at least ten.

    Args:
        pairs: What was predicted and then measured, ascending in trial.

    Yields:
        The bins; one if there are few pairs, none if there are none.
    """
    n_bins = max(min(_MAX_BINS, len(pairs) // _MIN_PAIRS), 1) if pairs else 0
    for i in range(n_bins):
        chosen = pairs[i * len(pairs) // n_bins : (i + 1) * len(pairs) // n_bins]
        share = sum(pair.is_covered for pair in chosen) / len(chosen)
        rate = Rate(share, *compute_wilson_interval(share, len(chosen)))
        yield Bin(chosen[0].trial.number, chosen[-1].trial.number, len(chosen), rate)


def _list_rates(audit: Audit) -> Iterator[tuple[str, Rate]]:
    if audit.rate is not None and audit.low is not None and audit.high is not None:
        yield "false prunes", Rate(audit.rate, audit.low, audit.high)
    if audit.saved is not None and audit.saved_low is not None and audit.saved_high is not None:
        yield "saved", Rate(audit.saved, audit.saved_low, audit.saved_high)


def _draw_rates(
    name: str, places: list[float] | list[str], rates: list[Rate], told: list[str]
) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=places,
        y=[rate.share for rate in rates],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [rate.high - rate.share for rate in rates],
            "arrayminus": [rate.share - rate.low for rate in rates],
            "width": 4,
            "thickness": 1.4,
        },
        hovertext=told,
        hoverinfo="text",
        showlegend=name != "audit",
    )


def _find_confidence(run: Run) -> float | None:
    search = tomllib.loads(run.config or "").get("search", {})
    value = search.get("confidence") if isinstance(search, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _tabulate(found: dict[str, list[Bin]], rates: list[tuple[str, Rate]]) -> Table:
    columns = ("what", "first_trial", "last_trial", "n", "share", "low", "high")
    rows: list[tuple[Cell, ...]] = [
        (
            f"coverage of {name}",
            b.first,
            b.last,
            b.n,
            b.covered.share,
            b.covered.low,
            b.covered.high,
        )
        for name, bins in found.items()
        for b in bins
    ]
    rows += [(name, None, None, None, rate.share, rate.low, rate.high) for name, rate in rates]
    return Table.from_rows(columns, rows)


def _caption(run: Run, confidence: float | None) -> str:
    promised = "" if confidence is None else f" (dashed: the {percent(confidence, 0)} promised)"
    text = f"How often a measured value lay inside the surrogate's interval{promised}. "
    audit = run.search.audit
    if audit.rate is None:
        return text + "No pruned trial was audited, so nothing is known of wrong prunings."
    return text + (
        "On the right, of the trials that were measured although the surrogate would have pruned "
        f"them: how many would have joined the front (false prunes, {audit.n_wrong} of "
        f"{audit.n_audited}); and the share of evaluations that pruning saves. Bars are 95\u00a0% "
        "intervals."
    )
