"""The path of progressive shrinking: how good each profile stayed."""

from __future__ import annotations

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.hover import describe_widths
from dpod_search.figures.style import VERMILION
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import log_axis
from dpod_search.figures.style import value_axis
from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import stage_missing
from dpod_search.quantities import count
from dpod_search.quantities import is_share
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.records.run import Run


def draw_path(run: Run) -> Drawing | Absent:
    """Draw the first metric against macs along the path, from the full net to the floor."""
    if run.path is None:
        return Absent(stage_missing("train", run))
    if not run.path:
        return Absent("The policy of this training makes no path.")
    profiles, name = run.path, find_purpose(run).first.name
    figure = go.Figure(
        go.Scatter(
            x=[profile.macs for profile in profiles],
            y=[profile.metrics.get(name) for profile in profiles],
            mode="lines+markers",
            line={"color": VERMILION, "width": 1.8},
            marker={"symbol": "diamond", "size": 8},
            hovertext=[
                "<br>".join(
                    [
                        f"<b>profile {i}</b> · {count(profile.macs)} MACs",
                        *describe_widths(profile.widths),
                    ]
                )
                for i, profile in enumerate(profiles)
            ],
            hoverinfo="text+y",
        )
    )
    figure.update_layout(
        xaxis=log_axis("MACs", [profile.macs for profile in profiles]),
        yaxis=value_axis(label(name), is_share=is_share(name)),
    )
    lay_out(figure, height=360)
    groups = [group.name for group in run.search.groups]
    columns = ("profile", "macs", name, *(f"width:{group}" for group in groups))
    rows = [
        (i, profile.macs, profile.metrics.get(name), *(profile.widths[g] for g in groups))
        for i, profile in enumerate(profiles)
    ]
    return Drawing(figure, Table.from_rows(columns, rows), _caption(run, label(name)))


def _caption(run: Run, measured: str) -> str:
    n_profiles = len(run.path or ())
    if n_profiles == 1:
        policy = "" if run.training is None else f" {run.training.policy}"
        return (
            f"The training policy{policy} makes no path: its only profile is the net as it was "
            f"trained, with its {measured} on validation."
        )
    return (
        f"{plural(n_profiles, 'profile')} from the full net on the right to the floor on the "
        f"left. {measured[0].upper()}{measured[1:]} of the trained supernet at each, on validation."
    )
