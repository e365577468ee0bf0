"""How far the surrogate could be trusted: predicted against measured, and its coverage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.hover import describe_trial
from dpod_search.figures.style import MARKS
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import lay_out
from dpod_search.figures.style import value_axis
from dpod_search.figures.text import percent
from dpod_search.quantities import in_percent
from dpod_search.quantities import label
from dpod_search.quantities import number
from dpod_search.records.run import Run
from dpod_search.records.search import Objective
from dpod_search.records.trials import Prediction
from dpod_search.records.trials import Trial


@dataclass(frozen=True)
class Pair:
    """One trial's prediction and what was measured afterwards."""

    trial: Trial
    prediction: Prediction
    measured: float

    @property
    def is_covered(self) -> bool:
        """Say whether the interval covers the measured value."""
        return self.prediction.covers(self.measured)


def find_pairs(run: Run, objective: Objective) -> list[Pair]:
    """Return the trials that were predicted first and measured then."""
    name = objective.name
    return [
        Pair(trial, trial.predicted[name], trial.values[name])
        for trial in run.trials
        if trial.fate in ("evaluated", "audited")
        and name in trial.predicted
        and name in trial.values
    ]


def draw_surrogate(run: Run) -> Drawing | Absent:
    """Draw predicted against measured values, one panel an objective."""
    found = {objective: find_pairs(run, objective) for objective in run.search.objectives}
    found = {objective: pairs for objective, pairs in found.items() if pairs}
    if not found:
        return Absent("No trial was predicted by the surrogate and then evaluated.")
    figure = make_subplots(rows=1, cols=len(found), horizontal_spacing=0.12)
    for i, (objective, pairs) in enumerate(found.items(), 1):
        is_share = objective.is_share
        across = value_axis(f"measured {label(objective.name)}", is_share=is_share)
        upwards = value_axis(f"predicted {label(objective.name)}", is_share=is_share)
        figure.add_traces(list(_draw_pairs(run, pairs, is_first=i == 1)), rows=1, cols=i)
        figure.update_xaxes(across, row=1, col=i)
        figure.update_yaxes(upwards | {"range": _find_range(pairs)}, row=1, col=i)
    lay_out(figure, height=460)
    return Drawing(figure, _tabulate(found), _caption(found))


def _draw_pairs(run: Run, pairs: list[Pair], *, is_first: bool) -> Iterator[go.Scatter]:
    ends = [pair.measured for pair in pairs] + [pair.prediction.value for pair in pairs]
    yield go.Scatter(
        name="predicted = measured",
        x=[min(ends), max(ends)],
        y=[min(ends), max(ends)],
        mode="lines",
        line={"color": NEUTRAL, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        showlegend=is_first,
    )
    for fate in ("evaluated", "audited"):
        chosen = [pair for pair in pairs if pair.trial.fate == fate]
        guesses = [pair.prediction for pair in chosen]
        yield go.Scatter(
            name=fate,
            x=[pair.measured for pair in chosen],
            y=[guess.value for guess in guesses],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_bar(guess.high - guess.value) for guess in guesses],
                "arrayminus": [_bar(guess.value - guess.low) for guess in guesses],
                "width": 0,
                "thickness": 1,
            },
            mode="markers",
            marker={"color": MARKS[fate].color, "symbol": MARKS[fate].symbol, "size": 7},
            opacity=0.75,
            hovertext=[describe_trial(pair.trial, run.search) for pair in chosen],
            hoverinfo="text",
            showlegend=is_first,
        )


def _find_range(pairs: list[Pair]) -> tuple[float, float]:
    # An interval of a surrogate that knew little may be wider than all else: it is cut.
    ends = [pair.measured for pair in pairs] + [pair.prediction.value for pair in pairs]
    slack = 0.25 * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    return min(ends) - slack, max(ends) + slack


def _bar(length: float) -> float | None:
    return max(length, 0.0) if math.isfinite(length) else None


def _tabulate(found: dict[Objective, list[Pair]]) -> Table:
    columns = ("objective", "trial", "fate", "measured", "predicted", "low", "high", "is_covered")
    rows = [
        (
            objective.name,
            pair.trial.number,
            pair.trial.fate,
            pair.measured,
            pair.prediction.value,
            pair.prediction.low,
            pair.prediction.high,
            pair.is_covered,
        )
        for objective, pairs in found.items()
        for pair in pairs
    ]
    return Table.from_rows(columns, rows)


def _caption(found: dict[Objective, list[Pair]]) -> str:
    told = []
    for objective, pairs in found.items():
        n_covered = sum(pair.is_covered for pair in pairs)
        errors = [abs(pair.prediction.value - pair.measured) for pair in pairs]
        mean = sum(errors) / len(errors)
        error = f"{in_percent(mean, 2)} points" if objective.is_share else number(mean, 3)
        told.append(
            f"The interval of {label(objective.name)} covers {n_covered} of {len(pairs)} measured "
            f"values ({percent(n_covered / len(pairs))}), with a mean absolute error of {error}"
        )
    return (
        "What the surrogate said before a trial was evaluated against what was measured; bars "
        f"are its intervals, cut where they leave the figure. {'. '.join(told)}."
    )
