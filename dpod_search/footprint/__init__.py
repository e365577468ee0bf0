"""What a subnet costs, in closed form from its widths."""

from __future__ import annotations

from dpod_search.footprint.metrics import METRICS
from dpod_search.footprint.model import FootprintModel
from dpod_search.footprint.model import build_footprint
from dpod_search.footprint.shares import GroupShares
from dpod_search.footprint.shares import Share
from dpod_search.footprint.shares import measure_shares
from dpod_search.footprint.tabulating import tabulate_footprint
from dpod_search.supernet import Part
from dpod_search.supernet import list_parts


__all__ = [
    "METRICS",
    "FootprintModel",
    "GroupShares",
    "Part",
    "Share",
    "build_footprint",
    "list_parts",
    "measure_shares",
    "tabulate_footprint",
]
