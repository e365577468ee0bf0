"""What the latency of a net is made of, summand by summand, each a sum of tables over its rungs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from dpod_search.errors import DataError
from dpod_search.latency.placed import PlacedLayer
from dpod_search.latency.table import LatencyTable
from dpod_search.latency.table import LayerGrid
from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.supernet import active_size
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.widths import WidthSpace


MAX_CELLS = 4096  # of one layer's table over all its groups
# In the order in which they are tried; the first is what the table says.
SUMMANDS = ("layers", "constant", "n_layers", "outputs", "inputs", "rest")


def build_summands(
    supernet: Supernet, layers: Sequence[PlacedLayer], table: LatencyTable
) -> dict[str, TableSum]:
    """Return what a net's latency is fitted to, by name, as sums of tables.

    Raises:
        DataError: If the table lacks a layer of the supernet.
    """
    space = supernet.space
    sums: dict[str, list[TableTerm]] = {name: [] for name in SUMMANDS}
    sums["constant"].append(TableTerm((), np.array(1.0)))
    for layer in layers:
        grid = table.layers.get(layer.spec)
        inputs, outputs = layer.find_widths(space)
        if grid is None or not grid.covers(inputs, outputs):
            raise DataError(
                f"the latency table lacks {layer.name} ({layer.spec.describe()}, {inputs[-1]} to "
                f"{outputs[-1]} channels); make a request for this study with "
                "`dpod-search latency request` and measure that"
            )
        sums["layers"] += _tabulate(layer, space, _make_look_up(grid))
        sums["n_layers"].append(TableTerm((), np.array(1.0), layer.blocks))
        n_out, n_in = _count_positions(layer)
        sums["outputs"] += _tabulate_size(layer.output, layer.blocks, space, n_out * 1e-5)
        sums["inputs"] += _tabulate_size(layer.inputs, layer.blocks, space, n_in * 1e-5)
    sums["rest"] = list(_tabulate_rest(supernet, {layer.name for layer in layers}))
    return {name: TableSum.of(terms) for name, terms in sums.items() if terms}


def _count_positions(layer: PlacedLayer) -> tuple[float, float]:
    n_in = math.prod(layer.spec.size)
    strides = math.prod(layer.spec.stride) or 1
    return (n_in * strides if layer.spec.rebuilder.is_transposed else n_in / strides), float(n_in)


def _make_look_up(grid: LayerGrid) -> Callable[[int, int], float]:
    known: dict[tuple[int, int], float] = {}

    def look_up(n_inputs: int, n_outputs: int) -> float:
        key = (n_inputs, n_outputs)
        if key not in known:
            known[key] = float(grid.at([n_inputs], [n_outputs])[0, 0])
        return known[key]

    return look_up


def _tabulate(
    layer: PlacedLayer, space: WidthSpace, look_up: Callable[[int, int], float]
) -> list[TableTerm]:
    """Return a layer's latency over the rungs of its groups."""
    groups = layer.groups
    shape = tuple(len(space.rungs[group]) for group in groups)
    if math.prod(shape) > MAX_CELLS:
        return _tabulate_plane(layer, space, look_up)
    cells = np.empty(shape)
    widths = list(space.full.active)
    for rungs in itertools.product(*map(range, shape)):
        for group, rung in zip(groups, rungs, strict=True):
            widths[group] = space.rungs[group][rung]
        cells[rungs] = look_up(
            active_size(layer.inputs, widths), active_size(layer.output, widths)
        )
    return [TableTerm(groups, cells, layer.blocks)]


def _tabulate_plane(
    layer: PlacedLayer, space: WidthSpace, look_up: Callable[[int, int], float]
) -> list[TableTerm]:
    """Approximate a layer of many groups by a + b in + c out + d in out, a sum over pairs."""
    ins, outs = layer.find_widths(space)
    pairs = list(itertools.product(ins, outs))
    ms = np.array([look_up(i, o) for i, o in pairs])
    terms = np.array([[1.0, i, o, i * o] for i, o in pairs])
    weights = np.linalg.lstsq(terms / ms[:, None], np.ones(len(ms)), rcond=None)[0]
    constant, of_in, of_out, of_both = map(float, weights)
    blocks = layer.blocks
    found = [TableTerm((), np.array(constant), blocks)]
    found += _tabulate_size(layer.inputs, blocks, space, of_in)
    found += _tabulate_size(layer.output, blocks, space, of_out)
    for one, other in itertools.product(
        _tabulate_size(layer.inputs, blocks, space, of_both),
        _tabulate_size(layer.output, blocks, space, 1.0),
    ):
        found.append(_multiply(one, other))
    return found


def _multiply(one: TableTerm, other: TableTerm) -> TableTerm:
    """Return the product of two terms of at most one group each, in the same blocks."""
    if one.groups == other.groups or not one.groups or not other.groups:
        return TableTerm(one.groups or other.groups, one.table * other.table, one.blocks)
    if one.groups > other.groups:
        one, other = other, one
    return TableTerm(
        (*one.groups, *other.groups), np.multiply.outer(one.table, other.table), one.blocks
    )


def _tabulate_size(
    layout: Layout, blocks: tuple[int, ...], space: WidthSpace, factor: float
) -> list[TableTerm]:
    """Return the elements of a dimension times a factor, a term for each segment."""
    found = []
    for segment in layout:
        if segment.group is None:
            found.append(TableTerm((), np.array(factor * segment.size), blocks))
        else:
            widths = np.array(space.rungs[segment.group], dtype=float)
            found.append(
                TableTerm((segment.group,), factor * float(segment.repeat) * widths, blocks)
            )
    return found


def _tabulate_rest(supernet: Supernet, tabulated: set[str]) -> Sequence[TableTerm]:
    """Return the weights of layers that no table knows, attention or LSTMs, in millions."""
    found = []
    for plan in supernet.grouping.layers:
        if plan.name in tabulated or plan.kind == "norm":
            continue
        blocks = tuple(sorted(plan.blocks))
        whole = (plan.weight_input, plan.output, plan.n_positions * max(plan.kernel_numel, 1))
        several = [(matrix.columns, matrix.rows, matrix.n_positions) for matrix in plan.matrices]
        for columns, rows, n_macs in several or [whole]:
            for one, other in itertools.product(
                _tabulate_size(columns, blocks, supernet.space, n_macs * 1e-6),
                _tabulate_size(rows, blocks, supernet.space, 1.0),
            ):
                found.append(_multiply(one, other))
    return found
