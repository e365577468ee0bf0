"""The channel groups: what each weighs in the full net, and how much each matters."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import SERIES
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import plain
from dpod_search.figures.text import percent
from dpod_search.quantities import label
from dpod_search.records.run import Run


def draw_importance(run: Run) -> Drawing | Absent:
    """Draw how much of each objective's variation every group explains."""
    importance = run.search.importance
    if not importance:
        return Absent(
            "Too few trials were evaluated, or the widths explain too little of what was "
            "measured, to say which group matters."
        )
    groups = [group.name for group in run.search.groups]
    columns = {name: [shares.get(g, 0.0) for g in groups] for name, shares in importance.items()}
    figure = _draw_bars(groups, columns, "importance")
    fits = [
        f"{label(name)} with an R² of {run.search.importance_r2[name]:.2f}"
        for name in columns
        if name in run.search.importance_r2
    ]
    caption = (
        "How much what was measured changes when a group's width alone changes, among the "
        "evaluated trials; the bars of an objective add up to 100\u00a0%. A group that weighs much "
        "and matters little is the one to narrow first."
    )
    if fits:
        caption += f" The model behind it predicts trials it has not seen: {', '.join(fits)}."
    return Drawing(figure, _tabulate(groups, columns), caption)


def draw_footprint(run: Run) -> Drawing | Absent:
    """Draw what share of the full net's macs and parameters every group widens."""
    groups = run.search.groups
    shares = [group.shares for group in groups if group.shares is not None]
    if not shares or len(shares) < len(groups):
        return Absent("What each group weighs was not measured.")
    names = [group.name for group in groups]
    columns = {"macs": [s.macs for s in shares], "params": [s.params for s in shares]}
    figure = _draw_bars(names, columns, "share of the full net")
    caption = (
        "What lies in the layers that each group widens or narrows, as a share of the full net. "
        "A layer between two groups counts for both, so the bars add up to more than 100\u00a0%."
    )
    return Drawing(figure, _tabulate(names, columns), caption)


def _draw_bars(groups: Sequence[str], columns: dict[str, list[float]], title: str) -> go.Figure:
    figure = go.Figure()
    for (name, shares), style in zip(columns.items(), SERIES * len(columns), strict=False):
        figure.add_trace(
            go.Bar(
                name=label(name),
                x=shares,
                # Places instead of names: plotly would join groups whose labels look the same.
                y=list(range(len(groups))),
                orientation="h",
                marker={
                    "color": style.color,
                    "pattern": {
                        "shape": style.pattern,
                        "bgcolor": style.color,
                        "fgcolor": "#ffffff",
                        "size": 6,
                    },
                },
                hovertext=[
                    f"{plain(group)}: {percent(share)}"
                    for group, share in zip(groups, shares, strict=True)
                ],
                hoverinfo="text",
            )
        )
    ticks = {"tickvals": list(range(len(groups))), "ticktext": [plain(g) for g in groups]}
    figure.update_layout(
        xaxis=axis(title) | {"tickformat": "~%", "rangemode": "tozero"},
        yaxis=axis("") | ticks | {"autorange": "reversed", "showgrid": False},
        barmode="group",
        bargap=0.3,
    )
    lay_out(figure, height=130 + max(len(groups) * (10 + 13 * len(columns)), 120))
    figure.update_layout(showlegend=True, margin={"t": 44})
    return figure


def _tabulate(groups: Sequence[str], columns: dict[str, list[float]]) -> Table:
    rows = zip(groups, *columns.values(), strict=True)
    return Table.from_rows(("group", *columns), rows)
