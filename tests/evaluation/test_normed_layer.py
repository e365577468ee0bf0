"""Run as one, a layer and its norm give what they give one by one, and change nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Net
from strategies import cnns
from strategies import mlps
from strategies import scramble_norms
from strategies import widths_of
from torch import Tensor
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.evaluation.calibration import calibrated
from dpod_search.evaluation.normed_layer import FoldedStand
from dpod_search.evaluation.normed_layer import NormedLayer
from dpod_search.evaluation.normed_layer import RanOtherwiseError
from dpod_search.evaluation.normed_layer import standing_in
from dpod_search.evaluation.watching import find_normed_layers
from dpod_search.placement import place_module
from dpod_search.supernet import build_supernet


@settings(max_examples=60)
@given(st.one_of(cnns(), mlps()), st.data())
def test_fast_is_slow_at_any_widths(net: Net, data: st.DataObject) -> None:
    try:
        supernet = build_supernet(net.model, net.example).eval()
    except GroupingError:
        return
    if data.draw(st.booleans()) and supernet.grouping.runs_channels_last:
        place_module(supernet, torch.device("cpu"))
    pairs = find_normed_layers(supernet, net.example)
    images = torch.randn(7, *net.example.shape[1:], generator=torch.Generator().manual_seed(1))
    batch_size = data.draw(st.sampled_from([3, 7]))
    before = copy.deepcopy(supernet.state_dict())

    with supernet.active(data.draw(widths_of(supernet.space))), torch.no_grad():
        with calibrated(supernet, images, batch_size=batch_size):
            slow = [[t.clone() for t in pair.active_statistics()] for pair in pairs]
            expected = supernet(images)
        with calibrated(supernet, images, batch_size=batch_size, normed_layers=pairs):
            fast = [[t.clone() for t in pair.active_statistics()] for pair in pairs]
            torch.testing.assert_close(supernet(images), expected, rtol=1e-3, atol=1e-4)
            with standing_in([FoldedStand(pair) for pair in pairs]):
                got = supernet(images)
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(supernet.state_dict(), before, rtol=0, atol=0)
    assert not any("forward" in vars(module) for module in supernet.modules())


class Branching(nn.Module):
    """Does as it did when it was watched only until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.way = "as watched"

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.way == "no norm":
            return y
        if self.way == "norm twice":
            return self.norm(self.norm(y))
        if self.way == "layer twice":
            return self.norm(self.conv(x)) + y
        return self.norm(y)


@pytest.mark.parametrize("way", ["no norm", "norm twice", "layer twice"])
def test_a_model_that_runs_otherwise_is_run_the_slow_way(way: str) -> None:
    net = scramble_norms(Branching()).eval()
    images = torch.randn(5, 3, 4, 4)
    pairs = find_normed_layers(net, images)
    assert len(pairs) == 1
    net.way = way
    with calibrated(net, images), torch.no_grad():
        expected, statistics = net(images), net.norm.running_var.clone()

    with calibrated(net, images, normed_layers=pairs), torch.no_grad():
        assert torch.equal(net.norm.running_var, statistics)
        with pytest.raises(RanOtherwiseError), standing_in([stand := FoldedStand(pairs[0])]):
            net(images)
            stand.check_end()
        assert torch.equal(net(images), expected)


def test_who_reads_the_weight_finds_it() -> None:
    net = scramble_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).eval()
    weight, before = net[0].weight, net[0].weight.clone()
    with torch.no_grad(), standing_in([FoldedStand(NormedLayer(net[0], net[1]))]):
        assert net[0].weight is weight
        assert torch.equal(net[0].weight, before)
    assert "forward" not in vars(net[0])
