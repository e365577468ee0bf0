"""How recurrent layers run narrow: the active rows of every gate, in PyTorch's fused kernels.

PyTorch's layer has one number of hidden units for all its layers. Where those of a subnet differ,
they run in a row, and what is cut out is a ``torch.fx.GraphModule`` of layers with the same inputs
and outputs. The last states of such layers are a tuple and no tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import take_parts


# How many blocks of rows the weights have, one for each gate.
N_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


class ElasticRecurrent(ElasticLayer, nn.RNNBase):
    """A recurrent layer that can run at several numbers of hidden units."""

    plain_type: ClassVar[Any]

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Run with the active units; shapes as the plain layer's, or of what is cut out."""
        layers = self._active_layers()
        if self._is_alike(layers):
            weights = [weight for layer in layers for weight in layer.values()]
            return _run(self, input, hx, weights, self.num_layers)
        states = []
        for k, layer in enumerate(layers):
            dropped = functional.dropout(input, self.dropout, self.training) if k else input
            input, state = _run(self, dropped, None, list(layer.values()), 1)
            states.append(state)
        return input, _join_states(states, self.mode, 1 + int(self.bidirectional))

    def extract(self) -> nn.Module:
        """Return a plain layer of the active size with copies of the active weights."""
        layers = self._active_layers()
        if self._is_alike(layers):
            plain = self._make_plain(layers[0], self.num_layers, self.dropout)
            return _fill(plain, self, {n: t for layer in layers for n, t in layer.items()})
        parts = []
        for k, layer in enumerate(layers):
            plain = self._make_plain(layer, 1, 0.0)
            parts.append(_fill(plain, self, layer, first=k))
        return _trace_row(parts, self).train(self.training)

    def _active_layers(self) -> list[dict[str, Tensor]]:
        """Return the active weights of each layer by name, in the order in which they are given."""
        state, axes = self.state, dict[str, tuple[Layout, ...]]()
        for matrix in self.plan.matrices:
            axes[matrix.name] = (matrix.rows, matrix.columns)
            if matrix.bias:
                axes[matrix.bias] = (matrix.rows,)
        tensors = [(self.get_parameter(name), layouts) for name, layouts in axes.items()]
        taken = take_parts(tensors, state.widths, adds_in_place=state.adds_in_place)
        parts = dict(zip(axes, taken, strict=True))
        n_directions = 1 + int(self.bidirectional)
        names = [
            [name for side in self._all_weights[i : i + n_directions] for name in side]
            for i in range(0, len(self._all_weights), n_directions)
        ]
        return [{name: parts[name] for name in layer} for layer in names]

    def _is_alike(self, layers: Sequence[dict[str, Tensor]]) -> bool:
        """Say whether all layers have the same number of units."""
        recurrent = [layer[f"weight_hh_l{k}"] for k, layer in enumerate(layers)]
        return len({weight.shape for weight in recurrent}) == 1

    def _make_plain(self, layer: dict[str, Tensor], n_layers: int, dropout: float) -> nn.RNNBase:
        names = [name for name in layer if "_reverse" not in name]
        weight_ih, weight_hh = layer[names[0]], layer[names[1]]
        options: dict[str, Any] = {"proj_size": weight_hh.shape[1]} if self.proj_size else {}
        if isinstance(self, nn.RNN):
            options["nonlinearity"] = self.nonlinearity
        plain: nn.RNNBase = self.plain_type(
            weight_ih.shape[1],
            weight_hh.shape[0] // N_GATES[self.mode],
            n_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            dropout=dropout,
            bidirectional=self.bidirectional,
            device="meta",
            **options,
        )
        return plain


class ElasticLSTM(ElasticRecurrent, nn.LSTM):  # type: ignore[misc]  # one forward for all
    """An LSTM that can run at several numbers of hidden units."""

    plain_type = nn.LSTM


class ElasticGRU(ElasticRecurrent, nn.GRU):  # type: ignore[misc]  # one forward for all
    """A GRU that can run at several numbers of hidden units."""

    plain_type = nn.GRU


class ElasticRNN(ElasticRecurrent, nn.RNN):  # type: ignore[misc]  # one forward for all
    """An Elman RNN that can run at several numbers of hidden units."""

    plain_type = nn.RNN


def _run(
    layer: nn.RNNBase, x: Tensor, hx: Any, weights: list[Tensor], n_layers: int
) -> tuple[Tensor, Any]:
    """Run PyTorch's kernel on some weights; shapes as of the plain layer."""
    is_lstm, is_batched = layer.mode == "LSTM", x.dim() == 3
    if not is_batched:
        x = x.unsqueeze(0 if layer.batch_first else 1)
    if hx is None:
        n_samples = x.shape[0] if layer.batch_first else x.shape[1]
        rows = n_layers * (1 + int(layer.bidirectional))
        n_hidden, n_outputs = weights[1].shape[0] // N_GATES[layer.mode], weights[1].shape[1]
        sizes = (n_outputs, n_hidden) if is_lstm else (n_outputs,)
        first = tuple(x.new_zeros(rows, n_samples, size) for size in sizes)
    else:
        first = tuple(hx) if is_lstm else (hx,)
        first = first if is_batched else tuple(state.unsqueeze(1) for state in first)
    y, *last = _FUNCTIONS[layer.mode](
        x,
        first if is_lstm else first[0],
        weights,
        layer.bias,
        n_layers,
        layer.dropout if n_layers > 1 else 0.0,
        layer.training,
        layer.bidirectional,
        layer.batch_first,
    )
    if not is_batched:
        y = y.squeeze(0 if layer.batch_first else 1)
        last = [state.squeeze(1) for state in last]
    return y, tuple(last) if is_lstm else last[0]


def _join_states(states: Sequence[Any], mode: str, n_directions: int) -> Any:
    """Return the last states of layers in a row: of different widths, so that no tensor holds them."""
    kinds = [[s[i] for s in states] for i in (0, 1)] if mode == "LSTM" else [states]
    joined = tuple(tuple(s[d] for s in kind for d in range(n_directions)) for kind in kinds)
    return joined if mode == "LSTM" else joined[0]


def _fill(
    plain: nn.RNNBase, elastic: nn.RNNBase, parts: Mapping[str, Tensor], first: int = 0
) -> nn.RNNBase:
    """Give a plain layer copies of the active weights.

    Args:
        plain: A layer of the active size, without memory.
        elastic: What it is cut from.
        parts: The active weights, by the names that they have there.
        first: Which of the layers there is the first of this one.
    """
    for name, part in parts.items():
        copied = part.detach().clone(memory_format=torch.contiguous_format)
        learns = elastic.get_parameter(name).requires_grad
        own = name.replace(f"_l{first}", "_l0") if first else name
        setattr(plain, own, nn.Parameter(copied, requires_grad=learns))  # it keeps a list of them
    return plain.train(elastic.training)


class _Row(nn.Module):
    """What layers of different widths are traced from; never in a model itself."""

    def __init__(self, layers: Sequence[nn.RNNBase], like: nn.RNNBase) -> None:
        super().__init__()
        self.names = [f"layer_{k}" for k in range(len(layers))]
        for name, layer in zip(self.names, layers, strict=True):
            self.add_module(name, layer)
        self.dropout = nn.Dropout(like.dropout)
        self.mode = like.mode
        self.n_directions = 1 + int(like.bidirectional)
        self.flatten_parameters = int  # which a model may call; there is nothing to do

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        states = []
        for k, name in enumerate(self.names):
            layer = self.get_submodule(name)
            input, state = layer(self.dropout(input) if k else input)
            states.append(state)
        return input, _join_states(states, self.mode, self.n_directions)


def _trace_row(layers: Sequence[nn.RNNBase], like: nn.RNNBase) -> fx.GraphModule:
    root = _Row(layers, like)
    graph = fx.Tracer().trace(root)
    for node in graph.nodes:
        node.type = None  # annotations are strings here, which a pickled graph cannot hold
    last = next(node for node in reversed(graph.nodes) if node.op == "output")
    with graph.inserting_before(last):
        graph.create_node("get_attr", "flatten_parameters")
    return fx.GraphModule(root, graph, "RecurrentLayers")
