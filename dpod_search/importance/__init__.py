"""How much each unit of the channel groups matters, told by the weights of the full net."""

from __future__ import annotations

from dpod_search.importance.measuring import CRITERIA
from dpod_search.importance.measuring import Criterion
from dpod_search.importance.measuring import TaskLoss
from dpod_search.importance.measuring import measure_unit_importance
from dpod_search.importance.units import LayerScores
from dpod_search.importance.units import UnitImportance


__all__ = [
    "CRITERIA",
    "Criterion",
    "LayerScores",
    "TaskLoss",
    "UnitImportance",
    "measure_unit_importance",
]
