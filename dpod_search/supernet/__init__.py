"""From a model to a supernet: trace, channel groups, elastic layers, extraction."""

from __future__ import annotations

from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.supernet import Subnet
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.supernet import SupernetSettings
from dpod_search.supernet.supernet import build_supernet
from dpod_search.supernet.supernet import extract_subnet


__all__ = [
    "ChannelGroup",
    "FrozenDimension",
    "Grouping",
    "LayerPlan",
    "Subnet",
    "Supernet",
    "SupernetSettings",
    "build_supernet",
    "extract_subnet",
]
