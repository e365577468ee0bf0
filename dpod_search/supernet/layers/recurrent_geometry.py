"""How recurrent layers are made anew at widths of their own, to be timed.

Where all layers of a module share a width, they run in one call of PyTorch's and are timed as one;
else each is timed by itself, as what is cut out has them in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.kind import TimedPart
from dpod_search.supernet.plans import LayerPlan


_RECURRENT = "recurrent"
_CLASSES: dict[str, Any] = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "RNN_TANH": nn.RNN,
    "RNN_RELU": nn.RNN,
}
_MAX_LAYERS = 1000


def _read(layer: nn.RNNBase, input_shape: tuple[int, ...]) -> Geometry | None:
    if len(input_shape) != 3 or math.prod(input_shape) == 0:
        return None
    n_steps, n_rows = input_shape[:2][:: -1 if layer.batch_first else 1]
    projected: tuple[int, ...] = ()
    if layer.proj_size:
        common = math.gcd(layer.proj_size, layer.hidden_size)
        projected = (layer.proj_size // common, layer.hidden_size // common)
    return Geometry(
        kind=_RECURRENT,
        size=(n_steps,) if n_rows == 1 else (n_steps, n_rows),
        has_bias=layer.bias,
        cell=layer.mode,
        n_layers=layer.num_layers,
        is_bidirectional=layer.bidirectional,
        batch_first=layer.batch_first,
        projected=projected,
    )


def _build(geometry: Geometry, n_inputs: int, n_outputs: int, _conv_groups: int) -> nn.Module:
    n_given = n_outputs // (1 + int(geometry.is_bidirectional))
    options: dict[str, Any] = {}
    n_hidden = n_given
    if geometry.projected:
        options["proj_size"] = n_given
        n_hidden = n_given // geometry.projected[0] * geometry.projected[1]
    if geometry.cell.startswith("RNN_"):
        options["nonlinearity"] = geometry.cell.removeprefix("RNN_").lower()
    layer: nn.Module = _CLASSES[geometry.cell](
        n_inputs,
        n_hidden,
        geometry.n_layers,
        bias=geometry.has_bias,
        batch_first=geometry.batch_first,
        bidirectional=geometry.is_bidirectional,
        **options,
    )
    return layer


def _lay_out_input(geometry: Geometry, n_inputs: int, batch_size: int) -> tuple[int, ...]:
    n_rows = batch_size * math.prod(geometry.size[1:])
    axes = (n_rows, geometry.size[0]) if geometry.batch_first else (geometry.size[0], n_rows)
    return (*axes, n_inputs)


def _fits(geometry: Geometry) -> bool:
    projected = geometry.projected
    is_smaller = not projected or (len(projected) == 2 and 1 <= projected[0] < projected[1])
    return (
        geometry.cell in _CLASSES
        and len(geometry.size) in (1, 2)
        and 1 <= geometry.n_layers <= _MAX_LAYERS
        and is_smaller
        and (geometry.cell == "LSTM" or not projected)
    )


def _take_apart(geometry: Geometry, plan: LayerPlan) -> Iterator[TimedPart]:
    n_directions = 1 + int(geometry.is_bidirectional)
    outputs = [
        matrix.columns * n_directions
        for k in range(geometry.n_layers)
        for matrix in plan.matrices
        if matrix.name == f"weight_hh_l{k}"
    ]
    if outputs.count(outputs[0]) == len(outputs):
        yield TimedPart(plan.weight_input, outputs[0], geometry.n_layers)
        return
    reads = plan.weight_input
    for output in outputs:
        yield TimedPart(reads, output)
        reads = output


REBUILDER = Rebuilder(
    _read, _build, lay_out_input=_lay_out_input, fits=_fits, take_apart=_take_apart
)
