"""Graphs made by hand, for the tests of the picture."""

from __future__ import annotations

from dpod_search.report.graph import InspectedDimension
from dpod_search.report.graph import InspectedGroup
from dpod_search.report.graph import InspectedOperation
from dpod_search.report.graph import Inspection


def op(what, kind, inputs, shape, **more):
    name = f"{what}_{len(inputs)}_{shape}"
    return InspectedOperation(name, what, kind, tuple(inputs), shape, **more)


def layer(what, inputs, shape, groups=(), **more):
    cost = {"is_maker": True, "macs": 600, "params": 30, **more}
    return op(what, "module", inputs, shape, groups=groups, line=f"net.py:{len(what)}", **cost)


def group(name, members, kind="channels"):
    shares = {"macs": 0.25, "params": 0.5}
    return InspectedGroup(name, kind, 8, (2, 8), tuple(members), "net.py:4", shares, shares)


def make_inspection(stem="stem", title="tiny") -> Inspection:
    """A residual net: stem, a block of two layers whose sum is pooled, and a frozen head."""
    operations = (
        op("x", "input", [], (3, 8, 8)),  # 0
        layer(stem, [0], (8, 8, 8), (0,)),  # 1
        op("relu", "function", [1], (8, 8, 8), groups=(0,)),  # 2
        op("size", "method", [2], None),  # 3
        layer("block.one", [2], (8, 8, 8), (1,)),  # 4
        layer("block.norm", [4], (8, 8, 8), (1,), is_maker=False, macs=0),  # 5
        layer("block.two", [5], (8, 8, 8), (0,)),  # 6
        op("add", "function", [2, 6], (8, 8, 8), groups=(0,), line="net.py:9"),  # 7
        op("view", "method", [7, 3], (512,), groups=(0,)),  # 8
        layer("head", [8], (10,)),  # 9
        op("output", "output", [9], None),  # 10
    )
    costs = {"macs": 2400, "params": 150, "weight_bytes": 600}
    return Inspection(
        title=title,
        groups=(
            group(stem, [stem, "block.one", "block.two", "head"]),
            group("block.one", ["block.one", "block.norm", "block.two"]),
        ),
        frozen=(
            InspectedDimension(
                "head", 10, ("output of the model fixes it",), ("head",), "net.py:4"
            ),
        ),
        operations=operations,
        uncounted=("einsum (net.py:7)",),
        full=costs,
        smallest=costs,
        n_subnets=4,
    )
