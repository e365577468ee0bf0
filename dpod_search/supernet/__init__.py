"""From a model to a supernet: trace, channel groups, elastic layers, extraction."""

from __future__ import annotations

from dpod_search.supernet.absorb import absorb_subnet
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
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import groups_of
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.parts import Part
from dpod_search.supernet.parts import list_parts
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import MatrixPlan
from dpod_search.supernet.plans import Operation
from dpod_search.supernet.plans import ParameterPlan
from dpod_search.supernet.reordering import Reordering
from dpod_search.supernet.reordering import plan_weights
from dpod_search.supernet.reordering import reorder_units
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.supernet import check_inputs
from dpod_search.supernet.supernet import check_supernet
from dpod_search.supernet.supernet import copy_supernet


__all__ = [
    "ChannelGroup",
    "FrozenDimension",
    "Grouping",
    "LayerPlan",
    "Layout",
    "MatrixPlan",
    "Operation",
    "ParameterPlan",
    "Part",
    "Reordering",
    "Subnet",
    "Supernet",
    "SupernetSettings",
    "absorb_subnet",
    "active_size",
    "build_supernet",
    "carry",
    "carry_with",
    "check_inputs",
    "check_supernet",
    "copy_supernet",
    "combine",
    "extract_subnet",
    "fixed",
    "freeze",
    "full_size",
    "groups_of",
    "import_handlers",
    "is_elastic",
    "kind_of",
    "list_parts",
    "plan_weights",
    "reorder_units",
    "slide",
]
