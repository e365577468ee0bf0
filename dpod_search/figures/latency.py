"""Latency against the macs that stand in for it, and the model of latency against the clock."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.hover import describe_trial
from dpod_search.figures.style import BLUE
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import ORANGE
from dpod_search.figures.style import PURPLE
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import log_axis
from dpod_search.figures.style import plain
from dpod_search.figures.text import percent
from dpod_search.pareto import FloatArray
from dpod_search.quantities import in_percent
from dpod_search.quantities import spell
from dpod_search.records.front import Member
from dpod_search.records.run import Run
from dpod_search.records.trials import Trial


_MEASURED, _MODELLED = "latency_ms", "latency"
_KINDS = {
    _MEASURED: ("measured by the search", BLUE, "circle"),
    _MODELLED: ("modelled", ORANGE, "diamond"),
}


@dataclass(frozen=True)
class Timed:
    """A finetuned subnet with its latency over the full net's, as modelled and as measured."""

    member: Member
    modelled: float
    measured: float


def draw_latency(run: Run) -> Drawing | Absent:
    """Draw latency against macs of every trial, and of finetuned subnets the clock's word."""
    asked = [name for name in _KINDS if _is_known(run, name)]
    if not asked:
        return Absent("Latency was no objective of this search.", is_left_out=True)
    found = {name: [t for t in run.trials if {name, "macs"} <= set(t.values)] for name in asked}
    found = {name: trials for name, trials in found.items() if trials}
    if not found:
        return Absent("No trial's latency was measured.")
    timed = list(_find_timed(run))
    figure = make_subplots(
        rows=1,
        cols=2 if timed else 1,
        column_widths=[0.6, 0.4] if timed else [1.0],
        horizontal_spacing=0.12,
    )
    for name, trials in found.items():
        figure.add_trace(_draw_trials(run, name, trials), row=1, col=1)
    full = run.search.of_full
    figure.add_traces(list(_draw_full(full, found)), rows=1, cols=1)
    macs = [full["macs"], *(t.values["macs"] for trials in found.values() for t in trials)]
    figure.update_xaxes(log_axis("MACs", macs), row=1, col=1)
    figure.update_yaxes(axis("latency (ms)") | {"rangemode": "tozero"}, row=1, col=1)
    if timed:
        figure.add_traces(list(_draw_timed(timed)), rows=1, cols=2)
        percents = {"tickformat": "~%"}
        figure.update_xaxes(axis("modelled, of the full net") | percents, row=1, col=2)
        figure.update_yaxes(axis("measured, of the full net") | percents, row=1, col=2)
    lay_out(figure, height=420)
    figure.update_layout(showlegend=True)
    caption = " ".join(_tell(run, found, timed))
    return Drawing(figure, _tabulate(run, list(found), timed), caption)


def _is_known(run: Run, name: str) -> bool:
    names = [objective.name for objective in run.search.objectives]
    return name in (run.search.footprints if name == _MODELLED else names)


def _find_timed(run: Run) -> Iterator[Timed]:
    if run.front is None:
        return
    for member in run.front.members:
        modelled = run.front.find_latency_share(member)
        if modelled is not None and member.measured_latency_share is not None:
            yield Timed(member, modelled, member.measured_latency_share)


def _draw_trials(run: Run, name: str, trials: Sequence[Trial]) -> go.Scatter:
    called, color, symbol = _KINDS[name]
    return go.Scatter(
        name=called,
        x=[trial.values["macs"] for trial in trials],
        y=[trial.values[name] for trial in trials],
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 8},
        opacity=0.8,
        hovertext=[describe_trial(trial, run.search) for trial in trials],
        hoverinfo="text",
    )


def _draw_full(full: Mapping[str, float], names: Iterable[str]) -> Iterator[go.Scatter]:
    known = [name for name in names if name in full]
    if known:
        yield go.Scatter(
            name="full net",
            x=[full["macs"]] * len(known),
            y=[full[name] for name in known],
            mode="markers",
            marker={"symbol": "star", "size": 14, "color": NEUTRAL},
            hovertext=[
                f"<b>full net</b><br>{spell(name, full[name])}, {_KINDS[name][0]}"
                for name in known
            ],
            hoverinfo="text",
        )


def _draw_timed(timed: Sequence[Timed]) -> Iterator[go.Scatter]:
    ends = [share for item in timed for share in (item.modelled, item.measured)]
    yield go.Scatter(
        name="measured = modelled",
        x=[min(ends), max(ends)],
        y=[min(ends), max(ends)],
        mode="lines",
        line={"color": NEUTRAL, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    yield go.Scatter(
        name="finetuned subnets",
        x=[item.modelled for item in timed],
        y=[item.measured for item in timed],
        mode="markers",
        marker={"color": PURPLE, "symbol": "triangle-up", "size": 11},
        hovertext=[_describe(item) for item in timed],
        hoverinfo="text",
    )


def _describe(item: Timed) -> str:
    told = [
        f"<b>trial {plain(item.member.title)}</b>",
        f"modelled {percent(item.modelled)}, measured {percent(item.measured)} of the full net",
        *(f"chosen for {plain(budget)}" for budget in item.member.budgets),
    ]
    return "<br>".join(told)


def _tabulate(run: Run, names: Sequence[str], timed: Sequence[Timed]) -> Table:
    """Tabulate the trials, each with its shares if it was timed after finetuning."""
    shares = {item.member.trial: (item.modelled, item.measured) for item in timed}
    rows: list[tuple[Cell, ...]] = []
    for trial in run.trials:
        if "macs" not in trial.values or not any(name in trial.values for name in names):
            continue
        rest = shares.pop(trial.number, (None, None)) if timed else ()
        values = [trial.values.get(name) for name in names]
        rows.append((trial.number, trial.values["macs"], *values, *rest))
    for item in timed:
        if item.member.trial in shares:  # the full net, which may have been no trial
            values = [item.member.footprint.get(name) for name in names]
            rest = (item.modelled, item.measured)
            rows.append((item.member.trial, item.member.macs, *values, *rest))
    columns = ("trial", "macs", *names, *(("modelled_share", "measured_share") if timed else ()))
    return Table.from_rows(columns, rows)


def _tell(run: Run, found: dict[str, list[Trial]], timed: Sequence[Timed]) -> Iterator[str]:
    for name, trials in found.items():
        macs, values = ([t.values[key] for t in trials] for key in ("macs", name))
        # Two subnets or one have an order, but it says nothing.
        ranks = f" Their ranks correlate with {_correlate_ranks(macs, values):.2f}."
        ranks = ranks if len(trials) > 2 else ""
        if name == _MEASURED:
            yield (
                "Latency as the search measured it, against MACs: how well MACs stand in for time "
                f"on this machine.{ranks}"
            )
        else:
            yield f"Latency of every trial as the model says it, against MACs.{ranks}"
    if run.latency is not None:
        yield f"The model is {run.latency.describe_error()}. {run.latency.describe_device()}"
    if timed:
        others = [item for item in timed if not item.member.is_full] or timed
        mean = sum(abs(item.measured - item.modelled) for item in others) / len(others)
        yield (
            "On the right the finetuned subnets, timed in turn with the full net: on the dashed "
            f"line the clock agrees with the model; they are {in_percent(mean)} points apart on "
            "average."
        )


def _correlate_ranks(first: Sequence[float], second: Sequence[float]) -> float:
    ranks = _rank(first), _rank(second)
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _rank(values: Sequence[float]) -> FloatArray:
    # Equal values share the mean of their places.
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: FloatArray = (ends - counts + ends - 1) / 2
    return means[places]
