from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from training.loops import Labels

from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before
from dpod_search.training import Loop


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


def test_an_input_may_be_given_by_its_name():
    net = make_net()[1]
    x = torch.randn(2, 4, 17, 19)
    expected = net(x)
    with skipping_before([net]):
        torch.testing.assert_close(net(input=x), expected)


def test_it_is_so_in_every_step_of_a_training():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, stride=2), nn.Flatten(), nn.LazyLinear(3))
    net(torch.zeros(1, 1, 4, 4))
    seen = []

    class Watching(Labels):
        def compute_gradients(self, step, images, labels):
            seen.append(net[0].stride)
            return super().compute_gradients(step, images, labels)

    batches = [(torch.randn(4, 1, 4, 4), torch.arange(4) % 3)]
    Loop(net, batches, 2, Watching(net)).run()
    assert seen == [(1, 1), (1, 1)]
    assert net[0].stride == (2, 2)
