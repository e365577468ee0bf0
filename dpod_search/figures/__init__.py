"""The figures of the report, of records alone: neither torch nor optuna.

A new one is one new file and one line in :data:`FIGURES`.
"""

from __future__ import annotations

from dpod_search.figures.calibration import draw_calibration
from dpod_search.figures.drawing import Absent
from dpod_search.figures.drawing import Drawing
from dpod_search.figures.drawing import FigureKind
from dpod_search.figures.drawing import Table
from dpod_search.figures.drawing import of_search
from dpod_search.figures.finetuned import draw_finetuned
from dpod_search.figures.front import draw_front
from dpod_search.figures.groups import draw_footprint
from dpod_search.figures.groups import draw_importance
from dpod_search.figures.hypervolume import draw_hypervolume
from dpod_search.figures.latency import draw_latency
from dpod_search.figures.path import draw_path
from dpod_search.figures.surrogate import draw_surrogate
from dpod_search.figures.training import draw_training
from dpod_search.figures.widths import draw_widths


__all__ = ["FIGURES", "Absent", "Drawing", "FigureKind", "Table"]

FIGURES = (
    FigureKind("finetuned", "Before and after finetuning", draw_finetuned),
    FigureKind("front", "Every trial and the front", draw_front),
    FigureKind("widths", "Widths along the front", draw_widths),
    FigureKind("importance", "Which groups matter", of_search(draw_importance)),
    FigureKind("footprint", "Where the full net's cost lies", draw_footprint),
    FigureKind("latency", "Latency against MACs", draw_latency),
    FigureKind("hypervolume", "How the front grew", of_search(draw_hypervolume)),
    FigureKind("surrogate", "The surrogate", of_search(draw_surrogate)),
    FigureKind("calibration", "Could the surrogate be trusted?", of_search(draw_calibration)),
    FigureKind("training", "Training the supernet", draw_training),
    FigureKind("path", "The path of progressive shrinking", of_search(draw_path)),
)
