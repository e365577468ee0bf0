"""The guided path: a goal in, the net that meets it out."""

from __future__ import annotations

from dpod_search.pipeline.shrinking.driving import shrink
from dpod_search.pipeline.shrinking.planning import ShrinkPlan
from dpod_search.pipeline.shrinking.planning import ShrinkRequest
from dpod_search.pipeline.shrinking.planning import plan_shrinking
from dpod_search.pipeline.shrinking.telling import read_shrunk


__all__ = ["ShrinkPlan", "ShrinkRequest", "plan_shrinking", "read_shrunk", "shrink"]
