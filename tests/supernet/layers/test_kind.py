"""A layer kind is one file and one line: its entry in the table is all that the rooms ask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from supernet.exactness import assert_exact
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.importance import measure_unit_importance
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.specs import LayerSpec
from dpod_search.supernet import build_supernet
from dpod_search.supernet import plan_weights
from dpod_search.supernet import reorder_units
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers import elastic
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.kind import WeightAxes
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan


class Mixing(nn.Module):
    """Mixes channels by a weight that has its inputs first, and scales what comes out."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_inputs, n_outputs) / n_inputs**0.5)
        self.bias = nn.Parameter(torch.randn(n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.t(), self.bias)


class ElasticMixing(ElasticLayer, Mixing):
    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._active()
        return functional.linear(x, weight.t(), bias)

    def extract(self) -> nn.Module:
        weight, bias = self._active()
        return fill_plain(Mixing(*weight.shape).to("meta"), self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        plan, widths = self.plan, self.state.widths
        (bias,) = self._vectors("bias")
        return take(take(self.weight, 0, plan.weight_input, widths), 1, plan.output, widths), bias


def mix(discovery: Discovery, node: fx.Node) -> Axes:
    source, name = discovery.first_input(node), str(node.target)
    inputs = discovery.layout(source, 1)
    known = discovery.layers.get(name)
    n_outputs = discovery.shapes[node][1]
    output = known.output if known else discovery.dims.add(n_outputs, name)
    discovery.record(node, inputs=inputs, weight_input=inputs, output=output)
    return {1: output}


def read_mixing(layer: Mixing, input_shape: tuple[int, ...]) -> Geometry:
    return Geometry("mixing", tuple(input_shape[1:-1]), has_bias=True)


def build_mixing(_geometry: Geometry, n_inputs: int, n_outputs: int, _groups: int) -> nn.Module:
    return Mixing(n_inputs, n_outputs)


def lay_out_mixing(_layer: Mixing, plan: LayerPlan) -> WeightAxes:
    return WeightAxes((plan.weight_input, plan.output), maker=1)


MIXING = LayerKind(
    name="mixing",
    twins={Mixing: ElasticMixing},
    handler=mix,
    lay_out=lay_out_mixing,
    rebuilder=Rebuilder(read_mixing, build_mixing),
)


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what a line of the table does."""
    monkeypatch.setitem(elastic.KINDS, Mixing, MIXING)


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Mixing(6, 8), nn.BatchNorm1d(8), nn.ReLU(), Mixing(8, 10), nn.ReLU(), nn.Linear(10, 3)
    ).eval()


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("_known")
def test_it_is_discovered_run_narrow_extracted_and_counted() -> None:
    supernet = build_supernet(make_net(), X)

    assert [group.name for group in supernet.groups] == ["0", "3"]
    assert isinstance(supernet.net.get_submodule("0"), ElasticMixing)
    assert not supernet.grouping.uncounted
    assert_exact(supernet, X)  # its macs, parameters, gradients and statistics among it


@pytest.mark.usefixtures("_known")
def test_its_weight_belongs_to_groups_and_its_units_have_scores() -> None:
    supernet = build_supernet(make_net(), X)

    weight = next(plan for plan in plan_weights(supernet) if plan.name == "3.weight")
    assert [layout[0].group for layout in weight.axes] == [0, 1]
    scores = measure_unit_importance(supernet, criterion="magnitude").layers
    assert [layer.layer for layer in scores] == ["0", "3"]
    made = torch.cat(
        [supernet.net.get_parameter("3.weight"), supernet.net.get_parameter("3.bias")[None]]
    )
    norms = made.detach().norm(dim=0).double().numpy()
    np.testing.assert_allclose(scores[1].scores / scores[1].scores.sum(), norms / norms.sum())


@pytest.mark.usefixtures("_known")
def test_its_units_can_be_put_in_another_order() -> None:
    supernet = build_supernet(make_net(), X)
    before, weight = supernet(X), supernet.net.get_parameter("3.weight").clone()

    done = reorder_units(supernet, [np.arange(8.0), np.arange(10.0)])

    assert not done.left
    torch.testing.assert_close(supernet(X), before)
    assert torch.equal(supernet.net.get_parameter("3.weight"), weight.flip(0, 1))


@pytest.mark.usefixtures("_known")
def test_it_is_timed_at_widths_of_its_own() -> None:
    layers = list_placed_layers(build_supernet(make_net(), X))

    assert [layer.spec.kind for layer in layers] == ["mixing", "mixing", "linear"]
    assert layers[0].spec.followers == ("norm", "relu")
    spec = LayerSpec.from_json(layers[0].spec.to_json())
    net, images = spec.build(5, 7, batch_size=2)
    assert isinstance(net[0], Mixing)
    assert net(images).shape == (2, 7)
