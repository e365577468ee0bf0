"""Cells that the model's own code calls step by step: their hidden units are a width.

``nn.LSTMCell``, ``nn.GRUCell`` and ``nn.RNNCell`` in a loop over the steps of the example. A unit has
a row in each gate block, a column in the recurrent weight, and its place in the state that one call
hands to the next: so all calls share a width, and so does whatever the state begins from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.recurrent import index_of
from dpod_search.supernet.layers.recurrent import read_states
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import take
from dpod_search.supernet.layout import take_matrix
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import MatrixPlan
from dpod_search.supernet.tracing.tracer import argument


_CLASSES: dict[str, Any] = {
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
    "RNN_TANH": nn.RNNCell,
    "RNN_RELU": nn.RNNCell,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
}


def recur_once(discovery: Discovery, node: fx.Node) -> Axes:
    """One step of a cell: new units, as many as its state has."""
    module = discovery.module(node)
    assert isinstance(module, nn.RNNCellBase)
    where, name = discovery.where(node), str(node.target)
    calls = [n for n in node.graph.nodes if n.op == "call_module" and n.target == node.target]
    if any(len(discovery.shapes.get(argument(n, 0, "input", None), ())) != 2 for n in calls):
        discovery.uncounted.append(where)
        return freeze_inputs(discovery, node, "is given one sample without a batch axis")
    source = argument(node, 0, "input", None)
    inputs = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{where} runs along another axis", but=1)
    known = discovery.layers.get(name)
    hidden = known.output if known else discovery.dims.add(module.hidden_size, name)
    n_positions = discovery.shapes[source][0] // discovery.n_samples(node)
    rows = hidden * (len(module.weight_hh) // module.hidden_size)
    plan = LayerPlan(
        name=name,
        kind="recurrent",
        output=hidden,
        weight_input=inputs,
        n_positions=n_positions,
        kernel_numel=0,
        n_vectors=0,
        n_statistics=0,
        itemsize=module.weight_hh.element_size(),
        matrices=tuple(
            MatrixPlan(f"weight_{side}", f"bias_{side}" * module.bias, rows, columns, n_positions)
            for side, columns in (("ih", inputs), ("hh", hidden))
        ),
    )
    discovery.keep(plan, inputs, where)
    is_lstm = isinstance(module, nn.LSTMCell)
    _read_first_state(discovery, node, hidden, n_states=1 + int(is_lstm))
    if not is_lstm:
        return {1: hidden}
    if not all(
        index_of(user) is not None or _goes_on(discovery, node, user) for user in node.users
    ):
        discovery.dims.freeze(hidden, f"the result of {where} is used as a whole")
    discovery.parts[node] = [{1: hidden}, {1: hidden}]
    return {}


def _goes_on(discovery: Discovery, node: fx.Node, user: fx.Node) -> bool:
    """Say whether a cell starts from both states of another."""
    is_cell = user.op == "call_module" and isinstance(discovery.module(user), nn.LSTMCell)
    return is_cell and argument(user, 1, "hx", None) is node


def _read_first_state(
    discovery: Discovery, node: fx.Node, hidden: Layout, *, n_states: int
) -> None:
    """Let the units of what a step starts from be its own."""
    given = argument(node, 1, "hx", None)
    if given is None:
        return
    where = f"{discovery.where(node)}, whose state is given,"
    found = read_states(discovery, given)
    if len(found) != n_states:
        discovery.dims.freeze(hidden, f"{where} does not show from what")
    for state, others in found:
        discovery.dims.unify(hidden, state, where)
        for other in others:
            discovery.dims.freeze(other, f"{where} has a place for each sample")


class ElasticCell(ElasticLayer, nn.RNNCellBase):
    """A recurrent cell that can run at several numbers of hidden units."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Run one step with the active units; shapes as the plain layer's."""
        parts = self._active_parts()
        mode = _mode_of(self)
        is_lstm, is_batched = mode == "LSTM", input.dim() == 2
        x = input if is_batched else input.unsqueeze(0)
        if hx is None:
            state = x.new_zeros(x.shape[0], parts["weight_hh"].shape[1])
            first: Any = (state, state) if is_lstm else state
        elif is_batched:
            first = hx
        else:
            first = tuple(s.unsqueeze(0) for s in hx) if is_lstm else hx.unsqueeze(0)
        made = _FUNCTIONS[mode](x, first, *parts.values())
        if is_batched:
            return made
        return tuple(s.squeeze(0) for s in made) if is_lstm else made.squeeze(0)

    def extract(self) -> nn.Module:
        """Return a plain cell of the active size with copies of the active weights."""
        parts = self._active_parts()
        n_hidden, n_inputs = parts["weight_hh"].shape[1], parts["weight_ih"].shape[1]
        plain = _make(_mode_of(self), n_inputs, n_hidden, bias=self.bias, device="meta")
        return fill_plain(plain, self, **parts)

    def _active_parts(self) -> dict[str, Any]:
        """Return the active weights by name, in the order in which they are given."""
        state, parts = self.state, dict[str, Any]()
        for matrix in self.plan.matrices:
            parts[matrix.name] = take_matrix(
                self.get_parameter(matrix.name),
                matrix.rows,
                matrix.columns,
                state.widths,
                adds_in_place=state.adds_in_place,
            )
        for matrix in self.plan.matrices:
            name = matrix.name.replace("weight", "bias")
            bias = self.get_parameter(name) if matrix.bias else None
            parts[name] = None if bias is None else take(bias, 0, matrix.rows, state.widths)
        return parts


class ElasticLSTMCell(ElasticCell, nn.LSTMCell):
    """A cell of an LSTM that can run at several numbers of hidden units."""


class ElasticGRUCell(ElasticCell, nn.GRUCell):
    """A cell of a GRU that can run at several numbers of hidden units."""


class ElasticRNNCell(ElasticCell, nn.RNNCell):
    """A cell of an Elman RNN that can run at several numbers of hidden units."""


def _mode_of(cell: nn.RNNCellBase) -> str:
    if isinstance(cell, nn.RNNCell):
        return f"RNN_{cell.nonlinearity.upper()}"
    return "LSTM" if isinstance(cell, nn.LSTMCell) else "GRU"


def _make(mode: str, n_inputs: int, n_hidden: int, **options: Any) -> nn.Module:
    if mode.startswith("RNN_"):
        options["nonlinearity"] = mode.removeprefix("RNN_").lower()
    made: nn.Module = _CLASSES[mode](n_inputs, n_hidden, **options)
    return made


def _read(cell: nn.RNNCellBase, input_shape: tuple[int, ...]) -> Geometry | None:
    if len(input_shape) != 2:
        return None
    return Geometry(CELL.name, (), has_bias=cell.bias, cell=_mode_of(cell))


def _build(geometry: Geometry, n_inputs: int, n_outputs: int, _conv_groups: int) -> nn.Module:
    return _make(geometry.cell, n_inputs, n_outputs, bias=geometry.has_bias)


def _fits(geometry: Geometry) -> bool:
    is_more = geometry.is_bidirectional or geometry.batch_first or geometry.n_layers > 1
    return geometry.cell in _CLASSES and not (geometry.size or geometry.projected or is_more)


CELL = LayerKind(
    name="cell",
    twins={
        nn.LSTMCell: ElasticLSTMCell,
        nn.GRUCell: ElasticGRUCell,
        nn.RNNCell: ElasticRNNCell,
    },
    handler=recur_once,
    weight="weight_ih",
    rebuilder=Rebuilder(_read, _build, fits=_fits),
)
