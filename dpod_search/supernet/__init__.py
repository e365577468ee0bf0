"""From a model to a supernet: trace, channel groups, elastic layers, extraction."""

from __future__ import annotations

from dpod_search.supernet.build import SupernetSettings
from dpod_search.supernet.build import build_supernet
from dpod_search.supernet.dimensions.own import carry
from dpod_search.supernet.dimensions.own import carry_with
from dpod_search.supernet.dimensions.own import combine
from dpod_search.supernet.dimensions.own import freeze
from dpod_search.supernet.dimensions.own import import_handlers
from dpod_search.supernet.dimensions.own import slide
from dpod_search.supernet.extract import Subnet
from dpod_search.supernet.extract import extract_subnet
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.reordering import Reordering
from dpod_search.supernet.reordering import plan_weights
from dpod_search.supernet.reordering import reorder_units
from dpod_search.supernet.supernet import Supernet


__all__ = [
    "ChannelGroup",
    "FrozenDimension",
    "Grouping",
    "LayerPlan",
    "Reordering",
    "Subnet",
    "Supernet",
    "SupernetSettings",
    "build_supernet",
    "carry",
    "carry_with",
    "combine",
    "extract_subnet",
    "freeze",
    "import_handlers",
    "plan_weights",
    "reorder_units",
    "slide",
]
