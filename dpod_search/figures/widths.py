"""The widths along the front: which groups keep their channels and which give them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import plain
from dpod_search.figures.text import percent
from dpod_search.records.run import Run


_MAX_WRITTEN_COLUMNS = 16


@dataclass(frozen=True)
class Column:
    """One member of the front: its trial, title, widths and share of the full net's macs."""

    trial: int | None
    title: str
    widths: Mapping[str, int]
    share: float


def list_columns(run: Run) -> list[Column]:
    """List the finetuned members, or the searched front if there are none, by macs."""
    if run.front is not None and run.front.members:
        return [Column(m.trial, m.title, m.widths, m.macs_share) for m in run.front.members]
    chosen = set(run.search.front)
    full = run.search.of_full["macs"]
    columns = [
        Column(trial.number, str(trial.number), trial.widths, trial.values["macs"] / full)
        for trial in run.trials
        if trial.number in chosen and "macs" in trial.values
    ]
    return sorted(columns, key=lambda column: column.share)


def draw_widths(run: Run) -> Drawing | Absent:
    """Draw width ratios as a heat map: groups down, members of the front across."""
    columns, groups = list_columns(run), run.search.groups
    if not columns or not groups:
        return Absent("The front has no member, so there are no widths to show.")
    ratios = [[column.widths[group.name] / group.full for column in columns] for group in groups]
    is_written = len(columns) <= _MAX_WRITTEN_COLUMNS
    heads = [f"{column.title}<br>{percent(column.share)}" for column in columns]
    figure = go.Figure(
        go.Heatmap(
            z=ratios,
            # Places instead of names: two members may have the same share and label.
            x=list(range(len(columns))),
            y=list(range(len(groups))),
            zmin=0.0,
            zmax=1.0,
            colorscale="Cividis",
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2~r}" if is_written else "",
            customdata=[[column.widths[group.name] for column in columns] for group in groups],
            hovertext=[
                [f"trial {column.title}, {plain(group.name)}" for column in columns]
                for group in groups
            ],
            hovertemplate="%{hovertext}: %{customdata} channels, ratio %{z:.3~r}<extra></extra>",
            colorbar={"title": {"text": "width ratio"}, "thickness": 12, "outlinewidth": 0},
        )
    )
    figure.update_layout(
        xaxis=_places("trial, and its share of the full net's MACs", heads),
        yaxis=_places("", [plain(group.name) for group in groups]) | {"autorange": "reversed"},
    )
    lay_out(figure, height=170 + max(24 * len(groups), 120))
    # Upright, the tools would stand on the colour bar.
    figure.update_layout(margin={"t": 44}, modebar={"orientation": "h"})
    names = ("group", "full", *(_name_column(column) for column in columns))
    shares = ("share of macs", None, *(column.share for column in columns))
    rows: list[tuple[Cell, ...]] = [shares]
    rows += [(g.name, g.full, *line) for g, line in zip(groups, ratios, strict=True)]
    return Drawing(figure, Table.from_rows(names, rows), _CAPTION)


_CAPTION = (
    "Width ratio (active over full channels) of every channel group, in the members of the "
    "front from the smallest on the left to the largest. Dark groups were narrowed most."
)


def _name_column(column: Column) -> str:
    return "full_net" if column.trial is None else f"trial_{column.trial}"


def _places(title: str, heads: list[str]) -> dict[str, object]:
    ticks = {"tickvals": list(range(len(heads))), "ticktext": heads}
    return axis(title) | ticks | {"showgrid": False}
