"""The front before and after finetuning, on validation and on test, and what was chosen of it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import BLUE
from dpod_search.figures.style import GREEN
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import PURPLE
from dpod_search.figures.style import VERMILION
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import log_axis
from dpod_search.figures.style import plain
from dpod_search.figures.style import value_axis
from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import name_samples
from dpod_search.figures.text import percent
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import value_of
from dpod_search.intervals import compute_wilson_interval
from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.quantities import count
from dpod_search.quantities import is_share
from dpod_search.quantities import label
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.metrics import Aim
from dpod_search.records.run import Run


def draw_finetuned(run: Run) -> Drawing | Absent:
    """Draw the first metric against macs of every finetuned member, before and after."""
    front = run.front
    if front is None:
        return Absent(stage_missing("finetune", run))
    members = [member for member in front.members if not member.is_full]
    if not members:
        return Absent("No subnet was finetuned.")
    figure = go.Figure()
    aim = front.task.first
    before = [member.validation_before[aim.name] for member in members]
    after = [member.validation[aim.name] for member in members]
    style = {"color": GREEN, "symbol": "circle-open", "dash": "dot"}
    figure.add_traces(list(_draw_stairs("before, on validation", front, before, style)))
    style = {"color": PURPLE, "symbol": "triangle-up", "dash": "solid"}
    figure.add_traces(list(_draw_stairs("after, on validation", front, after, style)))
    n_test = run.training.data.sizes.get("test", 0) if run.training else 0
    figure.add_trace(_draw_test_before(members, aim))
    figure.add_trace(_draw_test(members, aim, n_test if front.task.counts_samples else 0))
    figure.add_traces(list(_mark_chosen(members, aim)))
    figure.add_trace(_draw_full(front))
    figure.update_layout(
        xaxis=log_axis("MACs", [*(member.macs for member in members), front.full.macs]),
        yaxis=value_axis(label(aim.name), is_share=is_share(aim.name)),
    )
    lay_out(figure, height=480)
    return Drawing(
        figure,
        _tabulate(front, n_test),
        _caption(run, members, n_test if front.task.counts_samples else 0),
    )


def _draw_stairs(
    name: str, front: FinetunedFront, values: Sequence[float], style: dict[str, str]
) -> Iterator[go.Scatter]:
    aim, members = front.task.first, [member for member in front.members if not member.is_full]
    places = sorted(zip([m.macs for m in members], values, strict=True))
    kept = find_front(to_minimized(places, ["minimize", aim.direction]))
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
        y=list(values),
        mode="markers",
        marker={"color": style["color"], "symbol": style["symbol"], "size": 10},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
    )


def _draw_test_before(members: Sequence[Member], aim: Aim) -> go.Scatter:
    return go.Scatter(
        name="before, on test",
        x=[member.macs for member in members],
        y=[member.test_before[aim.name] for member in members],
        mode="markers",
        marker={"color": BLUE, "symbol": "diamond-open", "size": 8},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
    )


def _draw_test(members: Sequence[Member], aim: Aim, n_test: int) -> go.Scatter:
    bars: dict[str, Any] = {}
    values = [member.test[aim.name] for member in members]
    if n_test:
        ends = [compute_wilson_interval(value, n_test) for value in values]
        bars["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
            "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
            "width": 3,
            "thickness": 1.2,
        }
    return go.Scatter(
        name="after, on test",
        x=[member.macs for member in members],
        y=values,
        mode="markers",
        marker={"color": BLUE, "symbol": "diamond", "size": 8},
        hovertext=[_describe(member) for member in members],
        hoverinfo="text",
        **bars,
    )


def _mark_chosen(members: Iterable[Member], aim: Aim) -> Iterator[go.Scatter]:
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
                y=[member.validation[aim.name] for member in chosen],
                mode="markers",
                marker={"symbol": symbol, "size": 19, "color": color, "line": {"width": 2}},
                hoverinfo="skip",
            )


def _draw_full(front: FinetunedFront) -> go.Scatter:
    name = front.task.first.name
    return go.Scatter(
        name="full net, on test",
        x=[front.full.macs],
        y=[front.full.test[name]],
        mode="markers",
        marker={"symbol": "star", "size": 14, "color": NEUTRAL},
        hovertext=[f"<b>full net</b><br>test {value_of(name, front.full.test[name])}"],
        hoverinfo="text",
    )


def _describe(member: Member) -> str:
    lines = [
        f"<b>trial {member.title}</b>{' · knee' if member.knee else ''}",
        f"{count(member.macs)} MACs, {percent(member.macs_share)} of the full net",
        *_tell_change("validation", member.validation_before, member.validation),
        *_tell_change("test", member.test_before, member.test),
    ]
    lines += [f"chosen for {plain(budget)}" for budget in member.budgets]
    return "<br>".join(lines)


def _tell_change(
    split: str, before: Mapping[str, float], after: Mapping[str, float]
) -> Iterator[str]:
    for name, value in after.items():
        called = split if len(after) == 1 else f"{split}, {label(name)}:"
        yield f"{called} {value_of(name, before[name])} → {value_of(name, value)}"


def _tabulate(front: FinetunedFront, n_test: int) -> Table:
    aim, names = front.task.first, [metric.name for metric in front.task.metrics]
    columns = (
        "trial",
        "macs",
        "macs_share",
        *(
            f"{split}_{name}{when}"
            for split in ("validation", "test")
            for when in ("_before", "")
            for name in names
        ),
        *(("test_low", "test_high") if front.task.counts_samples else ()),
        "on_front",
        "knee",
        "budgets",
    )  # fmt: skip  (a table)
    rows: list[tuple[Cell, ...]] = []
    for m in front.members:
        ends: tuple[float | None, ...] = ()
        if front.task.counts_samples:
            is_known = n_test > 0
            ends = compute_wilson_interval(m.test[aim.name], n_test) if is_known else (None, None)
        measured = (m.validation_before, m.validation, m.test_before, m.test)
        values = [metrics[name] for metrics in measured for name in names]
        chosen = (m.on_front, m.knee, " ".join(m.budgets))
        rows.append((m.trial, m.macs, m.macs_share, *values, *ends, *chosen))
    return Table.from_rows(columns, rows)


def _caption(run: Run, members: Sequence[Member], n_test: int) -> str:
    noun, purpose = name_samples(run), find_purpose(run)
    measured, counts = label(purpose.first.name), purpose.counts_samples
    if run.oneshot is None:
        text = "The chosen subnets before finetuning (as the search measured them) and after it. "
        text += f"Everything was chosen on validation; test {noun}s were looked at once."
    else:
        text = (
            f"The subnets that {run.oneshot.method} chose, before finetuning and after it. Test "
            f"{noun}s were looked at once."
        )
    if n_test:
        text += f" Bars are the 95\u00a0% intervals that {count(n_test)} test {noun}s allow."
    if any(member.knee for member in members):
        more = f"a little more {measured}" if counts else f"a little better {measured}"
        text += f" At a knee, {more} starts to cost much more."
    return text
