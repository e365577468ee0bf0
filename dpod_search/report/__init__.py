"""The report: reads a finished run folder and nothing else; neither torch nor optuna."""

from __future__ import annotations

from dpod_search.figures import FIGURES
from dpod_search.figures import Absent
from dpod_search.figures import Drawing
from dpod_search.figures import FigureKind
from dpod_search.figures import Table
from dpod_search.records.run import Run
from dpod_search.records.run import read_run
from dpod_search.report.comparison import write_comparison
from dpod_search.report.page import write_report
from dpod_search.report.png import check_png
from dpod_search.report.png import draw_pngs
from dpod_search.report.png import write_pngs


__all__ = [
    "FIGURES",
    "Absent",
    "Drawing",
    "FigureKind",
    "Run",
    "Table",
    "check_png",
    "draw_pngs",
    "read_run",
    "write_comparison",
    "write_pngs",
    "write_report",
]
