"""The surrogate: measured objectives predicted from widths and exact costs, with intervals."""

from __future__ import annotations

from dpod_search.search.plan.surrogate.encoding import Encoder
from dpod_search.search.plan.surrogate.models import MODELS
from dpod_search.search.plan.surrogate.models import Model
from dpod_search.search.plan.surrogate.refitting import SurrogateFitter
from dpod_search.search.plan.surrogate.refitting import choose_points
from dpod_search.search.plan.surrogate.refitting import list_refits
from dpod_search.search.plan.surrogate.surrogate import Predictions
from dpod_search.search.plan.surrogate.surrogate import Surrogate


__all__ = [
    "MODELS",
    "Encoder",
    "Model",
    "Predictions",
    "Surrogate",
    "SurrogateFitter",
    "choose_points",
    "list_refits",
]
