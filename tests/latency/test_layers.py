from __future__ import annotations

import itertools

import numpy as np
import torch
from latency.fakes import Dense
from latency.fakes import make_residual_supernet
from torch import nn
from torch.nn import functional as F

from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.layers import sample_subnets
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import build_supernet
from dpod_search.widths import WidthSpace


def place(net, shape, **options):
    supernet = build_supernet(net.eval(), torch.zeros(2, *shape), **options)
    return supernet, {layer.name: layer for layer in list_placed_layers(supernet)}


def build(name, shape):
    settings = ModelSettings(name=name)
    net = build_model(settings, input_shape=shape, n_classes=10, seed=0)
    return place(net, shape, removes_blocks=True)


def test_layers_of_resnet20():
    supernet, layers = build("resnet20", (3, 32, 32))
    plans = [plan for plan in supernet.grouping.layers if plan.kind in ("conv", "linear")]

    assert list(layers) == [plan.name for plan in plans]
    assert len(layers) >= 20
    first, *_, head = layers.values()
    assert first.spec.followers == ("norm", "relu")
    assert first.spec.size == (32, 32)
    assert first.find_widths(supernet.space)[0] == (3,)
    assert first.blocks == ()
    assert head.spec.kind == "linear"
    assert head.find_widths(supernet.space)[1] == (10,)
    inside = [layer for layer in layers.values() if layer.blocks]
    assert len(inside) >= 12
    # The second convolution of a block ends in an addition, which is not timed with it.
    assert {layer.spec.followers for layer in inside} == {("norm", "relu"), ("norm",)}
    # Layers alike are one entry of a table.
    assert len({layer.spec for layer in layers.values()}) < len(layers)


def test_layers_of_mobilenet():
    supernet, layers = build("torchvision:mobilenet_v2", (3, 32, 32))
    depthwise = [layer for layer in layers.values() if layer.spec.conv_group]

    assert len(depthwise) == 17
    for layer in depthwise:
        assert layer.spec.conv_group == (1, 1)
        assert layer.spec.followers == ("norm", "relu6")
        inputs, outputs = layer.find_widths(supernet.space)
        assert inputs == (1,)
        assert len(outputs) == 8
        assert len(layer.groups) == 1


def test_layers_behind_a_concatenation_depend_on_all_that_it_joins():
    supernet, layers = place(Dense(3, 8), (3, 8, 8))

    assert [len(layers[f"convs.{i}"].groups) for i in range(3)] == [1, 2, 3]
    inputs, outputs = layers["convs.2"].find_widths(supernet.space)
    assert outputs == tuple(range(1, 9))
    assert inputs == tuple(3 + 2 * width for width in range(1, 9))
    # What the concatenation and the next convolution read is timed with this one: they wait.
    assert layers["convs.0"].spec.followers == ("relu",)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.hardswish(self.conv(input=x))
        x = self.twice(self.twice(x)).relu_()
        return self.head(x.mean((2, 3)))


def test_functions_follow_and_every_call_counts():
    supernet = build_supernet(Functional(), torch.zeros(2, 3, 9, 7))
    layers = list_placed_layers(supernet)

    assert [layer.name for layer in layers] == ["conv", "twice", "twice", "head"]
    assert layers[0].spec.followers == ("hardswish",)
    assert layers[0].spec.size == (9, 7)
    assert layers[1].spec.size == (7, 5)


def test_a_result_that_two_read_is_followed_by_nothing():
    supernet = make_residual_supernet()
    layers = {layer.name: layer for layer in list_placed_layers(supernet)}
    # conv2's norm goes into the sum alone; the stem's activation is read by block and sum.
    assert layers["3.conv2"].spec.followers == ("norm",)
    assert layers["0"].spec.followers == ("norm", "relu")
    blocks = [supernet.space.names.index(n) for n in supernet.space.names if n in "345"]
    assert [layers[f"{i}.conv1"].blocks for i in (3, 4, 5)] == [(block,) for block in blocks]
    assert layers["8"].blocks == ()


def test_listing_leaves_the_supernet_as_it_was():
    supernet = make_residual_supernet().train()
    before = {name: t.clone() for name, t in supernet.state_dict().items()}

    list_placed_layers(supernet)
    assert supernet.training
    assert all(torch.equal(t, before[name]) for name, t in supernet.state_dict().items())


def test_sampled_subnets_reach_both_ends_and_all_costs():
    space = make_residual_supernet().space
    found = sample_subnets(space, 40, np.random.default_rng(0))

    assert len(set(found)) == len(found) == 40
    assert found[0] == space.full
    assert found[1] == space.canonical(space.smallest)
    assert found == [space.canonical(widths) for widths in found]
    sums = sorted(sum(widths.active) / sum(space.full.active) for widths in found)
    assert max(b - a for a, b in itertools.pairwise(sums)) < 0.2
    assert found == sample_subnets(space, 40, np.random.default_rng(0))
    assert found != sample_subnets(space, 40, np.random.default_rng(1))


def test_a_small_space_gives_what_it_has():
    space = WidthSpace.from_ratios({"a": 2, "b": 2}, (0.5, 1))
    found = sample_subnets(space, 40, np.random.default_rng(0))
    assert len(set(found)) == len(found) == 4
