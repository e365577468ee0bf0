"""The front: every trial with its fate, the searched front, and what finetuning added."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.hover import describe_trial
from dpod_search.figures.plane import Plane
from dpod_search.figures.plane import choose_plane
from dpod_search.figures.plane import find_stairs
from dpod_search.figures.searched import Searched
from dpod_search.figures.style import GREEN
from dpod_search.figures.style import MARKS
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import PURPLE
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import log_axis
from dpod_search.figures.style import plain
from dpod_search.figures.style import value_axis
from dpod_search.figures.text import value_of
from dpod_search.quantities import plural
from dpod_search.quantities import quantity
from dpod_search.records.run import Run
from dpod_search.records.search import FATES
from dpod_search.records.trials import Trial


Place = tuple[str, float, float]  # what stands there, x, y


def draw_front(run: Run) -> Drawing | Absent:
    """Draw all trials and the front, in the plane that :func:`choose_plane` chooses."""
    found = Searched.of_run(run)
    plane = choose_plane(found)
    finetuned = [*_draw_finetuned(run, plane)]
    figure = draw_searched(found, finetuned, _full_places(run, plane))
    n_unplaced = len(_list_unplaced(found, plane))
    return Drawing(figure, _tabulate(run, plane), _caption(run, plane, n_unplaced))


def draw_searched(
    found: Searched,
    finetuned: Iterable[go.Scatter] = (),
    full: Iterable[Place] | None = None,
    *,
    height: int = 560,
) -> go.Figure:
    """Draw all trials and the front of a search.

    Args:
        found: What it has found.
        finetuned: What is drawn of its subnets after finetuning, in the same plane.
        full: Where full nets stand; by default the one of the search alone.
        height: In pixels.
    """
    plane = choose_plane(found)
    figure = go.Figure()
    for fate in FATES:
        figure.add_traces(list(_mark_trials(found, plane, fate)))
    figure.add_traces(list(_draw_stairs(found, plane)))
    figure.add_traces(list(finetuned))
    places = _searched_full(found.full, plane) if full is None else full
    figure.add_traces(list(_draw_full(places, plane)))
    drawn = [trial.values[plane.x] for trial in found.trials if plane.x in trial.values]
    drawn += [found.full[plane.x]] if plane.x in found.full else []
    across = log_axis(quantity(plane.x), drawn)
    upwards = value_axis(quantity(plane.y.name), is_share=plane.y.is_share)
    if _list_unplaced(found, plane):
        # Trials without a value keep their own strip below, where no height is claimed.
        across["anchor"] = "y2"
        upwards["domain"] = (0.1, 1.0)
        strip = {"domain": (0.0, 0.05), "range": (-1, 1), "visible": False, "fixedrange": True}
        figure.update_layout(yaxis2=strip)
    figure.update_layout(xaxis=across, yaxis=upwards)
    return lay_out(figure, height=height)


def _list_unplaced(found: Searched, plane: Plane) -> list[Trial]:
    return [trial for trial in found.trials if plane.locate(trial) is None]


def _mark_trials(found: Searched, plane: Plane, fate: str) -> Iterator[go.Scatter]:
    trials = [trial for trial in found.trials if trial.fate == fate and plane.x in trial.values]
    placed = [trial for trial in trials if plane.locate(trial) is not None]
    unplaced = [trial for trial in trials if plane.locate(trial) is None]
    heights = [place[1] for trial in placed if (place := plane.locate(trial))]
    yield from _scatter(found, plane, placed, heights, "y")
    yield from _scatter(found, plane, unplaced, [0.0] * len(unplaced), "y2")


def _scatter(
    found: Searched, plane: Plane, trials: list[Trial], heights: list[float], yaxis: str
) -> Iterator[go.Scatter]:
    if not trials:
        return
    mark = MARKS[trials[0].fate]
    suffix = " (no value)" if yaxis == "y2" else ""
    yield go.Scatter(
        name=trials[0].fate + suffix,
        x=[trial.values[plane.x] for trial in trials],
        y=heights,
        yaxis=yaxis,
        mode="markers",
        marker={
            "color": mark.color,
            "symbol": mark.symbol,
            "size": 8,
            "line": {"width": 1.2 if mark.symbol.endswith("open") else 0},
        },
        opacity=0.9,
        hovertext=[describe_trial(trial, found) for trial in trials],
        hoverinfo="text",
    )


def _front_places(found: Searched, plane: Plane) -> list[tuple[float, float]]:
    chosen = set(found.front)
    places = [plane.locate(trial) for trial in found.trials if trial.number in chosen]
    return [place for place in places if place is not None]


def _draw_stairs(found: Searched, plane: Plane) -> Iterator[go.Scatter]:
    places = _front_places(found, plane)
    stairs = find_stairs(places, plane)
    if not stairs:
        return
    yield go.Scatter(
        name="searched front" if not found.is_oneshot else "front as chosen",
        x=[x for x, _ in stairs],
        y=[y for _, y in stairs],
        mode="lines",
        line={"shape": "hv", "color": GREEN, "width": 2},
        hoverinfo="skip",
    )
    yield go.Scatter(
        name="member of the front",
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        marker={"symbol": "circle-open", "size": 14, "color": GREEN, "line": {"width": 1.5}},
        hoverinfo="skip",
    )


def _draw_finetuned(run: Run, plane: Plane) -> Iterator[go.Scatter]:
    if not _is_finetuned(run, plane) or run.front is None:
        return
    name = plane.y.name
    # The full net has its own star.
    members = [member for member in run.front.members if not member.is_full]
    if not members:
        return
    yield go.Scatter(
        name="gain by finetuning",
        x=[x for member in members for x in (member.macs, member.macs, None)],
        y=[
            y
            for member in members
            for y in (member.validation_before[name], member.validation[name], None)
        ],
        mode="lines",
        line={"color": PURPLE, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    yield go.Scatter(
        name="after finetuning",
        x=[member.macs for member in members],
        y=[member.validation[name] for member in members],
        mode="markers",
        marker={"symbol": "triangle-up", "size": 11, "color": PURPLE},
        hovertext=[
            f"<b>trial {member.trial}</b> · finetuned<br>"
            f"validation {value_of(name, member.validation_before[name])} → "
            f"{value_of(name, member.validation[name])}<br>"
            f"test {value_of(name, member.test[name])}"
            for member in members
        ],
        hoverinfo="text",
    )


def _is_finetuned(run: Run, plane: Plane) -> bool:
    """Say whether what stands upwards was measured again after finetuning, as a task's metric."""
    front = run.front
    return front is not None and plane.y.name in {m.name for m in front.task.metrics}


def _searched_full(known: Mapping[str, float], plane: Plane) -> list[Place]:
    is_placed = plane.x in known and plane.y.name in known
    return [("full net", known[plane.x], known[plane.y.name])] if is_placed else []


def _full_places(run: Run, plane: Plane) -> list[Place]:
    places = _searched_full(run.search.of_full, plane)
    if run.front is not None and _is_finetuned(run, plane):
        full = run.front.full
        places.append(("full net, finetuned", float(full.macs), full.validation[plane.y.name]))
    return places


def _draw_full(places: Iterable[Place], plane: Plane) -> Iterator[go.Scatter]:
    symbols = {"full net": "star-open", "full net, finetuned": "star"}
    for name, x, y in places:
        height = value_of(plane.y.name, y)
        yield go.Scatter(
            name=name,
            x=[x],
            y=[y],
            mode="markers",
            marker={
                "symbol": symbols[name],
                "size": 15,
                "color": NEUTRAL,
                "line": {"width": 1.5, "color": NEUTRAL},
            },
            hovertext=[f"<b>{name}</b><br>{plain(quantity(plane.y.name))}: {height}"],
            hoverinfo="text",
        )


def _tabulate(run: Run, plane: Plane) -> Table:
    columns = ("kind", "trial", "fate", "on_front", plane.x, plane.y.name, "is_predicted")
    rows: list[tuple[Cell, ...]] = []
    chosen = set(run.search.front)
    for trial in run.trials:
        x, y = plane.locate(trial) or (trial.values.get(plane.x), None)
        is_predicted = y is not None and plane.y.name not in trial.values
        is_chosen = trial.number in chosen
        rows.append(("trial", trial.number, trial.fate, is_chosen, x, y, is_predicted))
    if run.front is not None and _is_finetuned(run, plane):
        for member in run.front.members:
            place = (member.macs, member.validation[plane.y.name])
            rows.append(("finetuned", member.trial, None, member.on_front, *place, False))
    rows += [(name, None, None, None, x, y, False) for name, x, y in _full_places(run, plane)]
    return Table.from_rows(columns, rows)


def _caption(run: Run, plane: Plane, n_unplaced: int) -> str:
    goal = "higher" if plane.y.direction == "maximize" else "lower"
    if run.oneshot is not None:
        return _caption_oneshot(run, plane, goal)
    text = (
        f"Each mark is a trial; {goal} and further left is better. The stairs are the searched "
        "front, measured on validation. Trials that the surrogate pruned stand, hollow, at their "
        "predicted value. "
    )
    if n_unplaced:
        text += f"The strip below holds {plural(n_unplaced, 'trial')} with no value at all. "
    if run.front is not None and _is_finetuned(run, plane):
        text += "Dotted lines lead from a member of the front to itself after finetuning."
    return text.strip()


def _caption_oneshot(run: Run, plane: Plane, goal: str) -> str:
    text = (
        f"Each mark is a subnet that was chosen for a budget; {goal} and further left is better. "
        "The stairs join those that no other beats, measured on validation before finetuning."
    )
    if run.front is not None and _is_finetuned(run, plane):
        text += " Dotted lines lead from a subnet to itself after finetuning."
    return text
