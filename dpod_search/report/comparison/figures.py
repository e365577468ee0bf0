"""The figures of a comparison: the fronts of all runs, and how they grew on one scale."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.hypervolume import UnitScale
from dpod_search.figures.hypervolume import find_measured
from dpod_search.figures.hypervolume import trace_hypervolume
from dpod_search.figures.plane import Plane
from dpod_search.figures.plane import choose_plane
from dpod_search.figures.plane import find_stairs
from dpod_search.figures.searched import Searched
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import log_axis
from dpod_search.figures.style import plain
from dpod_search.figures.style import value_axis
from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import value_of
from dpod_search.quantities import quantity
from dpod_search.records.search import Objective
from dpod_search.report.comparison.runs import NamedRun


@dataclass(frozen=True)
class Place:
    """Where a subnet stands: its trial, None for a full net that was none; in the stairs or not."""

    x: float
    y: float
    trial: int | None
    is_joined: bool


def draw_searched(runs: Sequence[NamedRun]) -> Drawing | Absent:
    """Draw the searched front of each run, in the plane of the first run's report."""
    plane = choose_plane(Searched.of_run(runs[0].run))
    found = {named: _place_searched(named, plane) for named in runs}
    caption = "The front of each run as it was searched, on validation, before any finetuning."
    if any(named.run.oneshot is not None for named in runs):
        caption += (
            " Of a run without a search every subnet that was chosen is a mark, measured with the "
            "net's own weights cut out, where a search has a supernet's."
        )
    return _draw_fronts(found, plane, caption)


def draw_finetuned(runs: Sequence[NamedRun]) -> Drawing | Absent:
    """Draw the first metric on test against macs of each run's finetuned members."""
    aim = find_purpose(runs[0].run).first
    plane = Plane("macs", Objective(name=f"test_{aim.name}", direction=aim.direction))
    found = {
        named: [
            Place(float(member.macs), member.test[aim.name], member.trial, member.on_front)
            for member in named.run.front.members
        ]
        for named in runs
        if named.run.front is not None
    }
    caption = (
        "The finetuned members of each run and its full net, on test. The stairs join those that "
        "no other of the same run beats on validation, so that what was chosen owes nothing to "
        "what is shown: on test they may step down."
    )
    left_out = [named.name for named in runs if named not in found]
    if left_out:
        caption += f" Not finetuned yet: {', '.join(left_out)}."
    return _draw_fronts(found, plane, caption)


def draw_growth(runs: Sequence[NamedRun]) -> Drawing | Absent:
    """Draw the hypervolume of each run's front after each of its trials, on one scale."""
    searched = [named for named in runs if named.run.oneshot is None]
    if not searched:
        return Absent("None of the runs searched, so no front grew.", is_left_out=True)
    measured = {named: find_measured(named.run) for named in searched}
    measured = {named: trials for named, trials in measured.items() if trials}
    if not measured:
        return Absent("No trial of any run was measured in every objective.")
    together = [trial for trials in measured.values() for trial in trials]
    scale = UnitScale.from_trials(together, runs[0].run.search.objectives)
    figure = go.Figure()
    rows: list[tuple[Cell, ...]] = []
    for named, trials in measured.items():
        shares = trace_hypervolume(scale.place(trials))
        numbers = [trial.number for trial in trials]
        rows += [
            (named.name, number, share) for number, share in zip(numbers, shares, strict=True)
        ]
        last = named.run.trials[-1].number
        line = {"shape": "hv", "color": named.style.color, "dash": named.style.dash, "width": 2}
        figure.add_trace(
            go.Scatter(
                name=plain(named.name),
                x=[*numbers, last],
                y=[*shares, shares[-1]],
                mode="lines",
                line=line,
                # A name in the template itself might be read as a part of it.
                hovertemplate="%{fullData.name}<br>after trial %{x}: %{y:.3~p}<extra></extra>",
            )
        )
    figure.update_layout(
        xaxis=axis("trial") | {"rangemode": "tozero"},
        yaxis=axis("hypervolume (share of the box)") | {"tickformat": "~%"},
        showlegend=True,
    )
    lay_out(figure, height=400)
    caption = (
        "Hypervolume of each front after each trial, all in the box that spans the measured "
        f"trials of all runs. Reference point: {scale.describe_reference()}. Values are those of "
        "each run's own supernet, so a better trained one stands higher from the start."
    )
    left_out = [named.name for named in runs if named not in searched]
    if left_out:
        caption += f" Left out, as nothing grew there: {', '.join(left_out)}."
    return Drawing(figure, Table.from_rows(("run", "trial", "hypervolume"), rows), caption)


def _place_searched(named: NamedRun, plane: Plane) -> list[Place]:
    chosen = set(named.run.search.front)
    has_all = named.run.oneshot is not None
    trials = [trial for trial in named.run.trials if has_all or trial.number in chosen]
    located = [(place, t.number) for t in trials if (place := plane.locate(t)) is not None]
    stairs = set(find_stairs([place for place, _ in located], plane))
    return [Place(*place, number, place in stairs) for place, number in located]


def _draw_fronts(
    found: dict[NamedRun, list[Place]], plane: Plane, caption: str
) -> Drawing | Absent:
    if not any(found.values()):
        return Absent("None of the runs has gone so far.")
    figure = go.Figure()
    for named, places in found.items():
        figure.add_traces(list(_draw_front(named, places, plane)))
    is_share = plane.y.is_share
    drawn = [place.x for places in found.values() for place in places]
    figure.update_layout(
        xaxis=log_axis(quantity(plane.x), drawn),
        yaxis=value_axis(quantity(plane.y.name), is_share=is_share),
        showlegend=True,
    )
    lay_out(figure, height=480)
    rows = [(named.name, p.trial, p.x, p.y) for named, places in found.items() for p in places]
    return Drawing(figure, Table.from_rows(("run", "trial", plane.x, plane.y.name), rows), caption)


def _draw_front(named: NamedRun, places: list[Place], plane: Plane) -> Iterator[go.Scatter]:
    stairs = sorted((place.x, place.y) for place in places if place.is_joined)
    yield go.Scatter(
        name=plain(named.name),
        legendgroup=named.name,
        showlegend=False,
        x=[x for x, _ in stairs],
        y=[y for _, y in stairs],
        mode="lines",
        line={
            "shape": "hv",
            "color": named.style.color,
            "dash": named.style.dash,
            "width": 1.8,
        },
        hoverinfo="skip",
    )
    yield go.Scatter(
        name=plain(named.name),
        legendgroup=named.name,
        x=[place.x for place in places],
        y=[place.y for place in places],
        mode="markers",
        marker={"color": named.style.color, "symbol": named.style.symbol, "size": 9},
        hovertext=[_describe(named, place, plane) for place in places],
        hoverinfo="text",
    )


def _describe(named: NamedRun, place: Place, plane: Plane) -> str:
    called = "full net" if place.trial is None else f"trial {place.trial}"
    return "<br>".join(
        [
            f"<b>{plain(named.name)}</b> · {called}",
            f"{value_of(plane.x, place.x)} {plain(quantity(plane.x))}",
            f"{plain(quantity(plane.y.name))} {value_of(plane.y.name, place.y)}",
        ]
    )
