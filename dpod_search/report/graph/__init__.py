"""The picture of a model: its graph, channel groups and frozen dimensions, without torch."""

from __future__ import annotations

from dpod_search.report.graph.inspection import InspectedDimension
from dpod_search.report.graph.inspection import InspectedGroup
from dpod_search.report.graph.inspection import InspectedOperation
from dpod_search.report.graph.inspection import Inspection
from dpod_search.report.graph.page import build_graph_page


__all__ = [
    "InspectedDimension",
    "InspectedGroup",
    "InspectedOperation",
    "Inspection",
    "build_graph_page",
]
