"""A table knows recurrent layers: what it is asked for is what extracted nets are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from latency.fakes import SETTINGS
from latency.fakes import FakeBench
from latency.fakes import make_table
from torch import Tensor
from torch import nn

from dpod_search.errors import DataError
from dpod_search.latency import fit_latency
from dpod_search.latency import make_request
from dpod_search.latency import measure_request
from dpod_search.latency import measuring
from dpod_search.latency import pack_nets
from dpod_search.latency.backends.programs import write_program
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.packing import prepare_packed
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import make_images
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.specs import read_spec
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import kind_of


# Projections have no kernel of oneDNN's, as PyTorch says each time.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
STEPS, INPUTS = 4, 5


class Classifier(nn.Module):
    """A small classifier of sequences."""

    def __init__(
        self, kind: type[nn.RNNBase] = nn.LSTM, *, reads_states: bool = False, **options
    ) -> None:
        super().__init__()
        self.is_first = options.setdefault("batch_first", True)
        self.reads_states = reads_states
        self.front = nn.Linear(INPUTS, 6)
        self.rnn = kind(6, 8, **options)
        n_given = options.get("proj_size") or 8
        self.head = nn.Linear(n_given * (1 + int(options.get("bidirectional", False))), 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        outputs, states = self.rnn(x if self.is_first else x.transpose(0, 1))
        if self.reads_states:  # of all layers together
            return self.head(states.sum(0))
        return self.head(outputs[:, -1] if self.is_first else outputs[-1])


def make(kind: type[nn.RNNBase] = nn.LSTM, **options):
    torch.manual_seed(0)
    return build_supernet(Classifier(kind, **options).eval(), torch.randn(2, STEPS, INPUTS))


def list_needed(net: nn.Module):
    """Return the layers of a plain net as they are called, each with its spec and its widths."""
    found = []
    for module in net.modules():
        if kind_of(module).rebuilder:
            module.register_forward_pre_hook(
                lambda layer, inputs: found.append((layer, tuple(inputs[0].shape)))
            )
    with torch.no_grad():
        net(torch.zeros(1, STEPS, INPUTS))
    needed = set()
    for layer, shape in found:
        spec = read_spec(layer, shape, ())
        if isinstance(layer, nn.RNNBase):
            n_given = (layer.proj_size or layer.hidden_size) * (1 + int(layer.bidirectional))
            needed.add((spec, layer.input_size, n_given))
        else:
            needed.add((spec, layer.in_features, layer.out_features))
    return needed


OPTIONS = [
    (nn.LSTM, {}),
    (nn.LSTM, {"bidirectional": True, "bias": False}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 4, "batch_first": False}),
    (nn.GRU, {"num_layers": 2}),
    (nn.GRU, {"num_layers": 2, "reads_states": True}),
    (nn.RNN, {"nonlinearity": "relu"}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_a_request_has_the_layers_that_extracted_nets_have_at_each_rung(kind, options):
    supernet = make(kind, **options)
    request = make_request(supernet, SETTINGS)
    asked = {
        (replace(layer.spec, full=(), followers=()), n_inputs, n_outputs)
        for layer in request.layers
        for n_inputs in layer.inputs
        for n_outputs in layer.outputs
    }
    space = supernet.space
    needed = set()
    for rung in range(max(map(len, space.rungs))):
        for shift in (0, 1):  # so that layers of one module differ
            chosen = [
                widths[(rung + shift * i) % len(widths)] for i, widths in enumerate(space.rungs)
            ]
            widths = space.make(dict(zip(space.names, chosen, strict=True)))
            needed |= list_needed(extract_subnet(supernet, widths))
    # Layers of one width run in one call, unless they may differ: then they are told one by one.
    is_alike = options.get("reads_states", False)
    told = {entry for entry in needed if entry[0].n_layers == 1 or is_alike}
    assert told <= asked
    assert {spec for spec, *_ in told} == {spec for spec, *_ in asked}
    recurrent = [entry for entry in told if entry[0].kind == "recurrent"]
    assert {spec.cell for spec, *_ in recurrent} == {supernet.net.rnn.mode}
    assert {spec.n_layers for spec, *_ in recurrent} == {2 if is_alike else 1}


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_what_is_timed_of_a_layer_is_what_is_timed_of_the_plain_one(kind, options):
    supernet = make(kind, **options)
    rnn = extract_subnet(supernet, supernet.space.uniform(0.5)).eval().rnn
    if options.get("num_layers") == 2 and not options.get("reads_states"):
        widths = supernet.space.uniform(0.5).replace("rnn[1]", 1)
        rnn = extract_subnet(supernet, widths).eval().rnn.layer_0
    for n_samples in (1, 3):
        shape = (n_samples, STEPS, rnn.input_size)
        x = torch.randn(shape if rnn.batch_first else (STEPS, n_samples, rnn.input_size))
        spec = read_spec(rnn, (1, *x.shape[1:]) if rnn.batch_first else (STEPS, 1, 3), ())
        assert spec is not None
        assert LayerSpec.from_json(spec.to_json()) == spec
        assert spec in {replace(p.spec, full=()) for p in list_placed_layers(supernet)}
        n_given = (rnn.proj_size or rnn.hidden_size) * (1 + int(rnn.bidirectional))
        built, given = spec.build(rnn.input_size, n_given, batch_size=n_samples)
        assert given.shape == x.shape
        assert built[0].extra_repr() == rnn.extra_repr()
        assert write_program(built[0], given) == write_program(rnn, x)


def test_the_layers_of_a_module_are_timed_one_by_one_where_they_may_differ():
    supernet = make(num_layers=3, bidirectional=True)
    layers = [layer for layer in list_placed_layers(supernet) if layer.name == "rnn"]
    assert [layer.spec.full for layer in layers] == [(6, 16), (16, 16), (16, 16)]
    assert [layer.groups for layer in layers] == [(0, 1), (1, 2), (2, 3)]
    assert layers[0].spec.describe() == "bidirectional LSTM at 4"


def test_sequences_of_one_sample_are_timed_together():
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(INPUTS, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            made = self.rnn(x.flatten(0, 1))[0][:, -1]
            return self.head(made.unflatten(0, (-1, 7)).mean(1))

    supernet = build_supernet(Rows(), torch.randn(2, 7, STEPS, INPUTS))
    (layer, _) = list_placed_layers(supernet)
    assert layer.spec.size == (STEPS, 7)
    _, images = layer.spec.build(5, 8, batch_size=3)
    assert images.shape == (3 * 7, STEPS, 5)


def test_all_subnets_have_a_latency():
    supernet = make(num_layers=2, bidirectional=True)
    table = make_table(supernet)
    latency = fit_latency(supernet, table, n_held_out=8)
    assert latency.error.mape < 0.02
    assert "rest" not in latency.weights
    rng = np.random.default_rng(0)
    active = np.array([supernet.space.sample(rng).active for _ in range(200)])
    assert (latency.table(active) > 0.5).all()
    space = supernet.space
    assert latency.measure(space.smallest) < latency.measure(space.full)


def test_a_table_is_measured(monkeypatch):
    monkeypatch.setattr(measuring, "Bench", FakeBench)
    supernet = make(num_layers=2, bidirectional=True)
    request = make_request(supernet, replace(SETTINGS, n_grid=2, n_fit=8, n_held_out=4))
    assert measure_request(request, supernet=supernet).layers.keys() == {
        layer.spec for layer in request.layers
    }


def test_nets_are_packed():
    supernet = make(num_layers=2, bidirectional=True)
    request = make_request(supernet, replace(SETTINGS, n_fit=8, n_held_out=4))
    uneven = replace(request.nets[0], widths=supernet.space.full.replace("rnn[1]", 3).active)
    packed = pack_nets(replace(request, nets=(request.nets[0], uneven)), supernet)
    for net in packed.nets:
        run = prepare_packed(packed, net, FakeBench())
        own = extract_net(supernet, net.widths)
        x = make_images(request.input_shape, 1)
        assert run.module(x)[0].shape == own(x).shape
        shapes = sorted(tuple(p.shape) for p in own.parameters())
        assert sorted(tuple(p.shape) for p in run.module.parameters()) == shapes


LSTM = {"kind": "recurrent", "size": [4], "cell": "LSTM", "projected": [1, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {"cell": "relu"},
        {"cell": "GRU"},
        {"cell": 3},
        {"size": []},
        {"size": [4, 2, 2]},
        {"n_layers": 0},
        {"n_layers": 10**9},
        {"n_layers": True},
        {"is_bidirectional": 1},
        {"batch_first": "yes"},
        {"projected": [2, 2]},
        {"projected": [0, 2]},
        {"projected": [1]},
        {"kernel": [3]},
        {"conv_group": [1, 1]},
        {"kind": "linear"},
        {"kind": "linear", "cell": "", "projected": [], "n_layers": 2},
    ],
    ids=str,
)
def test_what_is_no_recurrent_layer_is_one_clear_error(change):
    assert LayerSpec.from_json(LSTM).describe() == "LSTM at 4"
    with pytest.raises(DataError) as told:
        LayerSpec.from_json({**LSTM, **change})
    assert "\n" not in str(told.value)
