"""The causal transformer: no token sees what comes next, and every width of it can be narrowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.models.gpt import build_gpt
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


def build(**arguments: Any) -> nn.Module:
    """Build a small one of two layers for rows of 12 of 20 tokens."""
    torch.manual_seed(0)
    given = {"width": 16, "n_layers": 2, "n_heads": 2, **arguments}
    return build_gpt(input_shape=(12,), n_classes=20, **given).eval()


def make_tokens(n: int = 3, length: int = 12) -> torch.Tensor:
    """Draw rows of tokens."""
    return torch.randint(20, (n, length), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_token_depends_on_itself_and_those_before_alone() -> None:
    net, tokens = build(), make_tokens()
    answers = net(tokens)
    changed = tokens.clone()
    changed[:, 7] = (tokens[:, 7] + 1) % 20
    other = net(changed)

    assert answers.shape == (3, 12, 20)
    assert torch.equal(other[:, :7], answers[:, :7])
    assert not torch.allclose(other[:, 7:], answers[:, 7:])


@torch.no_grad()
def test_shorter_rows_are_answered_as_the_beginning_of_longer_ones() -> None:
    net, tokens = build(), make_tokens()

    torch.testing.assert_close(net(tokens[:, :5]), net(tokens)[:, :5])


@torch.no_grad()
def test_places_matter() -> None:
    net = build()
    answers = net(torch.full((1, 12), 3))

    assert not torch.allclose(answers[:, 0], answers[:, 5])


@pytest.mark.parametrize("ties_weights", [False, True])
def test_all_of_it_is_elastic_and_exact(ties_weights: bool) -> None:
    tokens = make_tokens()
    supernet = build_supernet(build(ties_weights=ties_weights), tokens)
    supernet.eval()
    kinds = {group.name: group.kind for group in supernet.groups}

    assert kinds["tokens"] == "channels"
    for block in ("blocks.0", "blocks.1"):
        assert kinds[block] == "block"
        assert kinds[f"{block}.attention.query"] == "heads"
        assert kinds[f"{block}.grow"] == "channels"
    draw = np.random.default_rng(0)
    for _ in range(8):
        widths = supernet.space.sample(draw)
        subnet = extract_subnet(supernet, widths).eval()
        with torch.no_grad(), supernet.active(widths):
            torch.testing.assert_close(supernet(tokens), subnet(tokens), atol=1e-6, rtol=0)
        found = build_footprint(supernet).measure(widths)["params"]
        assert found == sum(parameter.numel() for parameter in subnet.parameters())


def test_tied_weights_are_one() -> None:
    net = build(ties_weights=True)

    assert net.get_submodule("head").weight is net.get_submodule("tokens").weight


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be"),
        ({"n_layers": 101}, "n_layers must be"),
        ({"n_heads": 0}, "n_heads must be"),
        ({"width": 15}, "width must be divisible by n_heads, 2, got 15"),
    ],
)
def test_numbers_out_of_range_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.arguments\.{message}"):
        build(**arguments)
