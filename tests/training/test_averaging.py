from __future__ import annotations

import pytest
import torch
from training.fakes import equal_states
from training.fakes import make_net

from dpod_search.training.averaging import WeightAverage


def move(net, generator):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)


def test_the_average_follows_its_formula_and_is_put_in_place_of_the_weights():
    net = make_net()
    average = WeightAverage(net, 0.5)
    wanted = {name: p.detach().clone() for name, p in net.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        move(net, generator)
        average.update(step)
        kept = min(0.5, (1 + step) / (10 + step))
        for name, parameter in net.named_parameters():
            wanted[name] = kept * wanted[name] + (1 - kept) * parameter.detach()
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    average.deliver()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), wanted[name])
    assert equal_states(dict(net.named_buffers()), buffers)


def test_restored_it_goes_on_bit_for_bit():
    nets = [make_net(), make_net()]
    whole, first = WeightAverage(nets[0], 0.9), WeightAverage(nets[1], 0.9)
    generators = [torch.Generator().manual_seed(0) for _ in nets]
    for step in range(3):
        move(nets[0], generators[0])
        move(nets[1], generators[1])
        whole.update(step)
        first.update(step)
    second = WeightAverage(make_net(seed=4), 0.9)
    second.restore(first.state())
    assert equal_states(second.state(), whole.state())
    assert all(
        a is not b for a, b in zip(second.state().values(), first.state().values(), strict=True)
    )


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_averages_of_other_weights_are_refused(change):
    average = WeightAverage(make_net(), 0.9)
    state = dict(average.state())
    name = next(iter(state))
    if change == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(7)
    with pytest.raises(ValueError, match="other weights"):
        average.restore(state)


def test_frozen_weights_have_no_average():
    net = make_net()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name == "head.bias")
    assert list(WeightAverage(net, 0.9).state()) == ["head.bias"]
