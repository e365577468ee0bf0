"""Axes that einops names: heads are split, space is folded, and a narrow net is exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from supernet.exactness import assert_exact
from supernet.exactness import reasons
from torch import Tensor
from torch import nn

from dpod_search.supernet import build_supernet


einops = pytest.importorskip("einops")
layers = pytest.importorskip("einops.layers.torch")

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Heads by a pattern, as in vit-pytorch."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.qkv = nn.Linear(16, 48, bias=False)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (einops.rearrange(part, "b n (h d) -> b h n d", h=self.heads) for part in parts)
        y = (q @ k.transpose(-1, -2) * 0.5).softmax(-1) @ v
        return self.out(einops.rearrange(y, "b h n d -> b n (h d)"))


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 16, 2, 2), Attention()
        self.mlp = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = einops.rearrange(self.patches(x), "b c h w -> b (h w) c")
        tokens = tokens + self.attention(tokens)
        tokens = tokens + self.mlp(tokens)
        return self.head(einops.reduce(tokens, "b n c -> b c", "mean"))


def test_an_attention_in_patterns() -> None:
    torch.manual_seed(0)
    supernet = build_supernet(Vit(), X)

    kinds = {group.name: group.kind for group in supernet.grouping.groups}
    assert kinds == {"patches": "channels", "attention.qkv": "heads", "mlp.0": "channels"}
    assert set(reasons(supernet)) == {"head"}
    assert_exact(supernet, X)


def between(make: Callable[[], nn.Module], n_after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 1), make(), nn.Conv2d(n_after, 12, 1), nn.Flatten(), nn.LazyLinear(5)
    )


class Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "a layer that moves": (
        lambda: nn.Sequential(
            layers.Rearrange("b c h w -> b h w c"), layers.Rearrange("b h w c -> b c h w")
        ),
        16,
    ),
    "a layer that reduces": (
        lambda: layers.Reduce("b c (h two) (w three) -> b c h w", "max", two=2, three=2),
        16,
    ),
    "places to channels": (
        lambda: layers.Rearrange("b c (h s) (w t) -> b (c s t) h w", s=2, t=2),
        64,
    ),
    "channels repeated": (
        lambda: Call(lambda x: einops.repeat(x, "b c h w -> b (c two) h w", two=2)),
        32,
    ),
    "dots and ones": (
        lambda: Call(
            lambda x: einops.rearrange(
                einops.rearrange(x, "b c ... -> b c 1 (...)"), "b c 1 (h w) -> b c h w", h=8
            )
        ),
        16,
    ),
    "numbers": (
        lambda: Call(
            lambda x: einops.reduce(
                einops.repeat(x, "b c h w -> b (c 2) h w"), "b (c 4) h w -> b c h w", "max"
            )
        ),
        8,
    ),
    "groups of channels": (
        lambda: Call(lambda x: einops.reduce(x, "b (c four) h w -> b c h w", "sum", four=4)),
        4,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_pass(name: str) -> None:
    torch.manual_seed(0)
    net = between(*CASES[name])
    net(X)
    supernet = build_supernet(net, X)

    assert set(supernet.space.names) == {"0", "2"}
    assert set(reasons(supernet)) == {"4"}
    assert_exact(supernet, X)
