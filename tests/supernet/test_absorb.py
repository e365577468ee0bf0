"""The way back: what a subnet has become, in the supernet that it was cut from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from strategies import Net
from strategies import graphs
from strategies import nets
from supernet.layers.test_more_layers import LAYERS
from supernet.layers.test_more_layers import make as make_layers
from supernet.test_reordering import draw_scores
from supernet.test_reordering import make
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.supernet import Supernet
from dpod_search.supernet import absorb_subnet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units
from dpod_search.widths import Widths


def change(module: nn.Module) -> nn.Module:
    """Give a module the weights and statistics of some training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand_like(tensor))
    return module


def assert_absorbed(supernet: Supernet, widths: Widths, x: torch.Tensor) -> None:
    """Check that a subnet, once changed, is what runs at its widths, in any order of the units."""
    supernet.eval()
    module = change(extract_subnet(supernet, widths)).eval()
    absorb_subnet(supernet, widths, module)
    back = extract_subnet(supernet, widths).state_dict()
    for name, tensor in module.state_dict().items():
        assert torch.equal(back[name], tensor), name
    with torch.no_grad(), supernet.active(widths):
        torch.testing.assert_close(supernet(x), module(x), rtol=1e-3, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(nets() | graphs())
def test_nets_of_any_shape(net: Net) -> None:
    try:
        supernet = build_supernet(net.model.eval(), net.example)
    except ValueError:
        return  # nothing to narrow
    assert_absorbed(supernet, supernet.space.sample(np.random.default_rng(0)), net.example)


@pytest.mark.parametrize("name", ["resnet20", "swin_t"])
def test_published_nets(name: str) -> None:
    net, x = make(name)
    supernet = build_supernet(net, x)
    assert_absorbed(supernet, supernet.space.sample(np.random.default_rng(3)), x)


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name: str) -> None:
    supernet, x = make_layers(LAYERS[name])
    assert_absorbed(supernet, supernet.space.sample(np.random.default_rng(0)), x)


def test_nothing_but_the_subnet_is_left_and_what_it_lacks_comes_last() -> None:
    net, x = make("resnet20")
    supernet = build_supernet(net, x)
    widths = supernet.space.uniform(0.5)
    module = change(extract_subnet(supernet, widths)).eval()
    absorb_subnet(supernet, widths, module)
    weight = supernet.net.get_parameter("conv.weight")
    kept = widths.active[0]
    assert kept < len(weight)
    assert not weight[kept:].any()
    # Its own units alone change places: the rest matters to nobody.
    scores = [
        None if s is None else np.append(s[:n], 0 * s[n:])
        for s, n in zip(draw_scores(supernet), widths.active, strict=True)
    ]
    assert not reorder_units(supernet, scores).left
    with torch.no_grad(), supernet.active(widths):
        torch.testing.assert_close(supernet(x), module(x), rtol=1e-3, atol=1e-4)


def test_a_module_of_other_widths_is_refused() -> None:
    net, x = make("resnet20")
    supernet = build_supernet(net, x)
    with pytest.raises(ConfigError, match="no subnet of these widths"):
        absorb_subnet(
            supernet, supernet.space.smallest, extract_subnet(supernet, supernet.space.full)
        )


def test_a_normed_weight_without_a_place_is_zero_and_no_nan() -> None:
    def normed(n_in: int, n_out: int) -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Conv2d(n_in, n_out, 1))

    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    net = nn.Sequential(normed(3, 8), nn.ReLU(), normed(8, 6), nn.Flatten(), nn.Linear(96, 3))
    supernet = build_supernet(net.eval(), x)
    widths = supernet.space.uniform(0.5)

    assert_absorbed(supernet, widths, x)
    with torch.no_grad():
        assert supernet(x).isfinite().all()
