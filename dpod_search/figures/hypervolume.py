"""How the front grew: hypervolume after each trial.

Footprints enter by their logarithm. Every objective is scaled so that the best value
measured is 0 and the worst is 1; the reference point lies at 1.1 everywhere. The
hypervolume is then divided by that of the whole box, 1.1 to the number of objectives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import GREEN
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.text import value_of
from dpod_search.pareto import FloatArray
from dpod_search.pareto import GrowingFront
from dpod_search.pareto import to_minimized
from dpod_search.quantities import label
from dpod_search.quantities import quantity
from dpod_search.records.run import Run
from dpod_search.records.search import Objective
from dpod_search.records.trials import Trial


REFERENCE = 1.1


@dataclass(frozen=True)
class UnitScale:
    """From the values of trials to points in which 0 is the best measured and 1 the worst.

    Args:
        objectives: The objectives, in order.
        low: Shape (m,): the best of each, minimised, footprints in log10.
        extent: Shape (m,): worst less best, 1 where they are equal.
    """

    objectives: tuple[Objective, ...]
    low: FloatArray
    extent: FloatArray

    @classmethod
    def from_trials(cls, trials: list[Trial], objectives: tuple[Objective, ...]) -> UnitScale:
        """Find the scale that spans all measured trials."""
        points = _minimize(trials, objectives)
        low = points.min(axis=0)
        extent = points.max(axis=0) - low
        return cls(objectives, low, np.where(extent > 0, extent, 1.0))

    def place(self, trials: list[Trial]) -> FloatArray:
        """Return the scaled points of trials, of shape (n, m)."""
        return (_minimize(trials, self.objectives) - self.low) / self.extent

    def describe_reference(self) -> str:
        """Say the reference point in the objectives' own units."""
        corner = self.low + REFERENCE * self.extent
        raw = to_minimized(corner, [objective.direction for objective in self.objectives])
        told = [
            f"{quantity(objective.name)} {value_of(objective.name, _round(_from_log(objective, value)))}"
            for objective, value in zip(self.objectives, raw, strict=True)
        ]
        return ", ".join(told)


def find_measured(run: Run) -> list[Trial]:
    """Return the trials of which every objective was measured, in order."""
    names = [objective.name for objective in run.search.objectives]
    measured = ("evaluated", "audited", "cached")
    return [
        trial
        for trial in run.trials
        if trial.fate in measured and all(name in trial.values for name in names)
    ]


def trace_hypervolume(points: FloatArray) -> list[float]:
    """Measure the share of the box that the first 1, 2, ..., n points dominate.

    Args:
        points: Shape (n, m), scaled, minimised.

    Returns:
        n shares in [0, 1] that never fall; they rise only where the front grows.
    """
    reference = np.full(points.shape[1], REFERENCE)
    front, box = GrowingFront(reference), float(np.prod(reference))
    return [front.add(point) / box for point in points]


def draw_hypervolume(run: Run) -> Drawing | Absent:
    """Draw the hypervolume of the front after each trial."""
    measured = find_measured(run)
    if not measured:
        return Absent("No trial was measured in every objective, so there is no front yet.")
    scale = UnitScale.from_trials(measured, run.search.objectives)
    shares = trace_hypervolume(scale.place(measured))
    numbers = [trial.number for trial in measured]
    figure = go.Figure(
        go.Scatter(
            x=[*numbers, run.trials[-1].number],
            y=[*shares, shares[-1]],
            mode="lines",
            line={"shape": "hv", "color": GREEN, "width": 2},
            hovertemplate="after trial %{x}: %{y:.3~p}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis=axis("trial") | {"rangemode": "tozero"},
        yaxis=axis("hypervolume (share of the box)") | {"tickformat": "~%"},
    )
    lay_out(figure, height=360)
    rows = zip(numbers, [trial.fate for trial in measured], shares, strict=True)
    return Drawing(
        figure, Table.from_rows(("trial", "fate", "hypervolume"), rows), _caption(scale)
    )


def _caption(scale: UnitScale) -> str:
    logs = [label(o.name) for o in scale.objectives if o.is_footprint]
    text = "Hypervolume of the front after each trial, as a share of the box from the best "
    text += "values measured to the reference point"
    text += f", with {' and '.join(logs)} in log scale" if logs else ""
    return f"{text}. Reference point: {scale.describe_reference()} (a tenth past the worst)."


def _minimize(trials: list[Trial], objectives: tuple[Objective, ...]) -> FloatArray:
    rows = [[_to_log(o, trial.values[o.name]) for o in objectives] for trial in trials]
    return to_minimized(rows, [objective.direction for objective in objectives])


def _to_log(objective: Objective, value: float) -> float:
    # A footprint of 0 (nothing left) must not end the report; it stands at 10^-12.
    return math.log10(max(value, 1e-12)) if objective.is_footprint else value


def _from_log(objective: Objective, value: float) -> float:
    return float(10**value) if objective.is_footprint else float(value)


def _round(value: float) -> float:
    return round(value) if abs(value) >= 1000 else value
