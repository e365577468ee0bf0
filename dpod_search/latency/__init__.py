"""Latency: measured so that drift cancels, and modelled from a table of layers.

A :class:`Bench` times nets on this machine in turn with a reference net. A *request* says which
layers and subnets a :class:`LatencyTable` has to hold; it is measured on this or another device,
and :func:`fit_latency` makes of the table the latency of every subnet, with its error.
"""

from __future__ import annotations

from dpod_search.latency.bench import Bench
from dpod_search.latency.fingerprint import Fingerprint
from dpod_search.latency.fingerprint import take_fingerprint
from dpod_search.latency.measuring import measure_request
from dpod_search.latency.model import FitError
from dpod_search.latency.model import LatencyModel
from dpod_search.latency.model import fit_latency
from dpod_search.latency.model import measure_error
from dpod_search.latency.packing import pack_nets
from dpod_search.latency.request import LatencyRequest
from dpod_search.latency.request import make_request
from dpod_search.latency.request import read_request
from dpod_search.latency.request import write_request
from dpod_search.latency.settings import LatencySettings
from dpod_search.latency.subnets import make_subnet_bench
from dpod_search.latency.subnets import measure_latency
from dpod_search.latency.subnets import measure_subnet_latency
from dpod_search.latency.table import LatencyTable
from dpod_search.latency.table import read_table
from dpod_search.latency.timing import Latency


__all__ = [
    "Bench",
    "Fingerprint",
    "FitError",
    "Latency",
    "LatencyModel",
    "LatencyRequest",
    "LatencySettings",
    "LatencyTable",
    "fit_latency",
    "make_request",
    "make_subnet_bench",
    "measure_error",
    "measure_latency",
    "measure_request",
    "measure_subnet_latency",
    "pack_nets",
    "read_request",
    "read_table",
    "take_fingerprint",
    "write_request",
]
