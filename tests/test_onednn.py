from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, 1, stride=(2, 3)),
        nn.Conv2d(6, 6, 1),
        nn.Conv2d(6, 4, 1, stride=2, padding=1),
    )


def test_only_pointwise_layers_that_skip_positions_are_found():
    net = make_net()
    assert find_skipping(net) == (net[1],)


def test_what_is_computed_and_its_gradients_are_the_same():
    nets = [make_net() for _ in range(2)]
    x = torch.randn(2, 3, 17, 19)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected = nets[0](inputs[0])
    with skipping_before(find_skipping(nets[1])):
        found = nets[1](inputs[1])
        assert nets[1][1].stride == (1, 1)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)


def test_layers_are_as_they_were_whatever_happens_inside():
    net = make_net()
    before = copy.deepcopy(net)
    with pytest.raises(ZeroDivisionError), skipping_before(find_skipping(net)):
        _ = 1 / 0
    x = torch.randn(2, 3, 17, 19)
    assert torch.equal(net(x), before(x))
    assert net[1].stride == (2, 3)
