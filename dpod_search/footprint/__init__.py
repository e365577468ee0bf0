"""What a subnet costs, in closed form from its widths."""

from __future__ import annotations

from dpod_search.footprint.model import METRICS
from dpod_search.footprint.model import FootprintModel
from dpod_search.footprint.model import build_footprint


__all__ = ["METRICS", "FootprintModel", "build_footprint"]
