"""The training of the supernet: its losses, and the learning rate below."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import Table
from dpod_search.figures.style import BLUE
from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import ORANGE
from dpod_search.figures.style import axis
from dpod_search.figures.style import lay_out
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import value_of
from dpod_search.quantities import count
from dpod_search.quantities import label
from dpod_search.quantities import seconds
from dpod_search.records.run import Run
from dpod_search.records.training import Training
from dpod_search.records.training import TrainingStep


_COLUMNS = ("step", "loss", "partial_loss", "lr")


def draw_training(run: Run) -> Drawing | Absent:
    """Draw the losses of the full and the partial nets, and the learning rate."""
    training = run.training
    if training is None:
        return Absent(stage_missing("train", run))
    if not training.history:
        return Absent("The training kept no history.")
    table = _tabulate(training.history)
    return Drawing(draw_history(training.history), table, _caption(run, training))


def draw_history(history: Sequence[TrainingStep], *, height: int = 440) -> go.Figure:
    """Draw the losses and the learning rate of a training.

    Args:
        history: Its steps.
        height: In pixels.
    """
    steps, full, partial, rates = map(_tabulate(history).column, _COLUMNS)
    curves = (
        ("loss of the full net", BLUE, "solid", full, 1),
        ("loss of the partial nets", ORANGE, "dot", partial, 1),
        ("learning rate", NEUTRAL, "solid", rates, 2),
    )
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.06
    )
    for name, color, dash, values, row in curves:
        if any(value is not None for value in values):
            line = {"color": color, "width": 1.8, "dash": dash}
            trace = go.Scatter(name=name, x=steps, y=values, mode="lines", line=line)
            figure.add_trace(trace, row=row, col=1)
    figure.update_xaxes(axis(""), row=1, col=1)
    figure.update_xaxes(axis("step"), row=2, col=1)
    figure.update_yaxes(axis("loss"), row=1, col=1)
    figure.update_yaxes(axis("rate") | {"rangemode": "tozero", "nticks": 3}, row=2, col=1)
    return lay_out(figure, height=height)


def _tabulate(history: Sequence[TrainingStep]) -> Table:
    rows = (
        (step.step, step.losses.get("loss"), step.losses.get("partial_loss"), step.lr)
        for step in history
    )
    return Table.from_rows(_COLUMNS, rows)


def _spell(training: Training) -> str:
    name = training.task.first.name
    told = value_of(name, training.full.metrics[name])
    return told if training.task.counts_samples else f"{label(name)} {told}"


def _caption(run: Run, training: Training) -> str:
    text = (
        f"Policy {training.policy}: {count(training.n_steps)} steps in "
        f"{seconds(training.seconds)}. The full net reached "
        f"{_spell(training)} on validation."
    )
    if run.oneshot is not None:
        text += " It alone was trained; its units were then put in the order of their importance."
    return text
