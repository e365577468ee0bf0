"""The front before and after finetuning, on validation and on test, and what was chosen of it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dpod_search.intervals import compute_wilson_interval
from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.quantities import count
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.run import Run
from dpod_search.report.figures.drawing import Absent
from dpod_search.report.figures.drawing import Cell
from dpod_search.report.figures.drawing import Drawing
from dpod_search.report.figures.drawing import Table
from dpod_search.report.figures.style import BLUE
from dpod_search.report.figures.style import GREEN
from dpod_search.report.figures.style import NEUTRAL
from dpod_search.report.figures.style import PURPLE
from dpod_search.report.figures.style import VERMILION
from dpod_search.report.figures.style import lay_out
from dpod_search.report.figures.style import log_axis
from dpod_search.report.figures.style import plain
from dpod_search.report.figures.style import value_axis
from dpod_search.report.text import percent
from dpod_search.report.text import stage_missing


def draw_finetuned(run: Run) -> Drawing | Absent:
    """Draw accuracy against macs of every finetuned member, before and after."""
    front = run.front
    if front is None:
        return Absent(stage_missing("finetune", run))
    members = [member for member in front.members if not member.is_full]
    if not members:
        return Absent("No subnet was finetuned.")
    figure = go.Figure()
    before = [member.validation_accuracy_before for member in members]
    after = [member.validation_accuracy for member in members]
    style = {"color": GREEN, "symbol": "circle-open", "dash": "dot"}
    figure.add_traces(list(_draw_stairs("before, on validation", members, before, style)))
    style = {"color": PURPLE, "symbol": "triangle-up", "dash": "solid"}
    figure.add_traces(list(_draw_stairs("after, on validation", members, after, style)))
    n_test = run.training.data.sizes.get("test", 0) if run.training else 0
    figure.add_trace(_draw_test_before(members))
    figure.add_trace(_draw_test(members, n_test))
    figure.add_traces(list(_mark_chosen(members)))
    figure.add_trace(_draw_full(front))
    figure.update_layout(
        xaxis=log_axis("MACs", [*(member.macs for member in members), front.full.macs]),
        yaxis=value_axis("accuracy", is_accuracy=True),
    )
    lay_out(figure, height=480)
    return Drawing(figure, _tabulate(front, n_test), _caption(run, members, n_test))


def _draw_stairs(
    name: str, members: Sequence[Member], accuracies: Sequence[float], style: dict[str, str]
) -> Iterator[go.Scatter]:
    places = sorted(zip([m.macs for m in members], accuracies, strict=True))
    kept = find_front(to_minimized(places, ["minimize", "maximize"]))
    stairs = [place for place, is_kept in zip(places, kept, strict=True) if is_kept]
    yield go.Scatter(
        name=name,
        legendgroup=name,
        showlegend=False,
        x=[x for x, _ in stairs],
        y=[y for _, y in stairs],
        mode="lines",
        line={"shape": "hv", "color": style["color"], "width": 2, "dash": style["dash"]},
        hoverinfo="skip",
    )
    yield go.Scatter(
        name=name,
        legendgroup=name,
        x=[member.macs for member in members],
        y=list(accuracies),
        mode="markers",
        marker={"color": style["color"], "symbol": style["symbol"], "size": 10},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
    )


def _draw_test_before(members: Sequence[Member]) -> go.Scatter:
    return go.Scatter(
        name="before, on test",
        x=[member.macs for member in members],
        y=[member.test_accuracy_before for member in members],
        mode="markers",
        marker={"color": BLUE, "symbol": "diamond-open", "size": 8},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
    )


def _draw_test(members: Sequence[Member], n_test: int) -> go.Scatter:
    bars: dict[str, Any] = {}
    if n_test:
        ends = [compute_wilson_interval(m.test_accuracy, n_test) for m in members]
        bars["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - m.test_accuracy for m, (_, high) in zip(members, ends, strict=True)],
            "arrayminus": [
                m.test_accuracy - low for m, (low, _) in zip(members, ends, strict=True)
            ],
            "width": 3,
            "thickness": 1.2,
        }
    return go.Scatter(
        name="after, on test",
        x=[member.macs for member in members],
        y=[member.test_accuracy for member in members],
        mode="markers",
        marker={"color": BLUE, "symbol": "diamond", "size": 8},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
        **bars,
    )


def _mark_chosen(members: Iterable[Member]) -> Iterator[go.Scatter]:
    members = list(members)
    marks = (
        ("knee", "square-open", VERMILION, [m for m in members if m.knee]),
        ("chosen for a budget", "hexagon-open", NEUTRAL, [m for m in members if m.budgets]),
    )
    for name, symbol, color, chosen in marks:
        if chosen:
            yield go.Scatter(
                name=name,
                x=[member.macs for member in chosen],
                y=[member.validation_accuracy for member in chosen],
                mode="markers",
                marker={"symbol": symbol, "size": 19, "color": color, "line": {"width": 2}},
                hoverinfo="skip",
            )


def _draw_full(front: FinetunedFront) -> go.Scatter:
    return go.Scatter(
        name="full net, on test",
        x=[front.full.macs],
        y=[front.full.test_accuracy],
        mode="markers",
        marker={"symbol": "star", "size": 14, "color": NEUTRAL},
        hovertext=[f"<b>full net</b><br>test {percent(front.full.test_accuracy, 2)}"],
        hoverinfo="text",
    )


def _describe(member: Member) -> str:
    ends = (member.validation_accuracy_before, member.validation_accuracy)
    tests = (member.test_accuracy_before, member.test_accuracy)
    lines = [
        f"<b>trial {member.title}</b>{' · knee' if member.knee else ''}",
        f"{count(member.macs)} MACs, {percent(member.macs_share)} of the full net",
        f"validation {' → '.join(percent(x, 2) for x in ends)}",
        f"test {' → '.join(percent(x, 2) for x in tests)}",
    ]
    lines += [f"chosen for {plain(budget)}" for budget in member.budgets]
    return "<br>".join(lines)


def _tabulate(front: FinetunedFront, n_test: int) -> Table:
    columns = (
        "trial",
        "macs",
        "macs_share",
        "validation_accuracy_before",
        "validation_accuracy",
        "test_accuracy_before",
        "test_accuracy",
        "test_low",
        "test_high",
        "on_front",
        "knee",
        "budgets",
    )  # fmt: skip  (a table)
    rows: list[tuple[Cell, ...]] = []
    for m in front.members:
        ends = compute_wilson_interval(m.test_accuracy, n_test) if n_test else (None, None)
        accuracies = (
            *(m.validation_accuracy_before, m.validation_accuracy),
            *(m.test_accuracy_before, m.test_accuracy),
        )
        chosen = (m.on_front, m.knee, " ".join(m.budgets))
        rows.append((m.trial, m.macs, m.macs_share, *accuracies, *ends, *chosen))
    return Table.from_rows(columns, rows)


def _caption(run: Run, members: Sequence[Member], n_test: int) -> str:
    if run.oneshot is None:
        text = "The chosen subnets before finetuning (as the search measured them) and after it. "
        text += "Everything was chosen on validation; test pictures were looked at once."
    else:
        text = (
            f"The subnets that {run.oneshot.method} chose, before finetuning and after it. Test "
            "pictures were looked at once."
        )
    if n_test:
        text += f" Bars are the 95\u00a0% intervals that {count(n_test)} test pictures allow."
    if any(member.knee for member in members):
        text += " At a knee, a little more accuracy starts to cost much more."
    return text
