"""What a user wants of a smaller net, in the user's words: ``latency<=50%, accuracy>=-1pt``."""

from __future__ import annotations

from dpod_search.goals.goal import FOOTPRINTS
from dpod_search.goals.goal import LATENCY
from dpod_search.goals.goal import Goal
from dpod_search.goals.goal import LossBound
from dpod_search.goals.goal import SizeBound
from dpod_search.goals.reading import parse_goal


__all__ = ["FOOTPRINTS", "LATENCY", "Goal", "LossBound", "SizeBound", "parse_goal"]
