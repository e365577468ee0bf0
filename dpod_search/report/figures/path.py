"""The path of progressive shrinking: what accuracy each profile kept."""

from __future__ import annotations

import plotly.graph_objects as go

from dpod_search.quantities import count
from dpod_search.quantities import plural
from dpod_search.records.run import Run
from dpod_search.report.figures.drawing import Absent
from dpod_search.report.figures.drawing import Drawing
from dpod_search.report.figures.drawing import Table
from dpod_search.report.figures.hover import describe_widths
from dpod_search.report.figures.style import VERMILION
from dpod_search.report.figures.style import lay_out
from dpod_search.report.figures.style import log_axis
from dpod_search.report.figures.style import value_axis
from dpod_search.report.text import stage_missing


def draw_path(run: Run) -> Drawing | Absent:
    """Draw accuracy against macs along the path, from the full net to the floor."""
    if run.path is None:
        return Absent(stage_missing("train", run))
    if not run.path:
        return Absent("The policy of this training makes no path.")
    profiles = run.path
    figure = go.Figure(
        go.Scatter(
            x=[profile.macs for profile in profiles],
            y=[profile.accuracy for profile in profiles],
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
        yaxis=value_axis("accuracy", is_accuracy=True),
    )
    lay_out(figure, height=360)
    groups = [group.name for group in run.search.groups]
    columns = ("profile", "macs", "accuracy", *(f"width:{name}" for name in groups))
    rows = [
        (i, profile.macs, profile.accuracy, *(profile.widths[name] for name in groups))
        for i, profile in enumerate(profiles)
    ]
    return Drawing(figure, Table.from_rows(columns, rows), _caption(run, len(profiles)))


def _caption(run: Run, n_profiles: int) -> str:
    if n_profiles == 1:
        policy = "" if run.training is None else f" {run.training.policy}"
        return (
            f"The training policy{policy} makes no path: its only profile is the net as it was "
            "trained, with its accuracy on validation."
        )
    return (
        f"{plural(n_profiles, 'profile')} from the full net on the right to the floor on the "
        "left. Accuracy of the trained supernet at each, on validation."
    )
