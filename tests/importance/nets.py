"""Small nets whose units are made in many ways, and pictures for them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from strategies import Classifier
from strategies import ConvUnit
from strategies import Dense
from strategies import Depthwise
from strategies import Excite
from strategies import Residual
from strategies import Shortcut
from strategies import scramble_norms
from torch import Tensor
from torch import nn

from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet


class MobileBlock(nn.Sequential):
    """A pointwise convolution, a depthwise one, a pointwise one; norms and activations between."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__(
            OrderedDict(
                expand=nn.Conv2d(n_in, n_hidden, 1, bias=False),
                expand_norm=nn.BatchNorm2d(n_hidden),
                relu1=nn.ReLU6(inplace=True),
                depth=nn.Conv2d(n_hidden, n_hidden, 3, padding=1, groups=n_hidden, bias=False),
                depth_norm=nn.BatchNorm2d(n_hidden),
                relu2=nn.ReLU6(inplace=True),
                project=nn.Conv2d(n_hidden, n_out, 1, bias=False),
                project_norm=nn.BatchNorm2d(n_out),
            )
        )


class Attention(nn.Module):
    """Pictures as tokens, one layer of self-attention around a shortcut."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(n_in, width, 1)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        y = self.norm(tokens)
        tokens = tokens + self.attention(y, y, y, need_weights=False)[0]
        return tokens.transpose(1, 2).unsqueeze(3)


BODIES = {
    "plain": lambda: (nn.Sequential(ConvUnit(2, 6), ConvUnit(6, 8, norm=False)), 8),
    "residual": lambda: (nn.Sequential(Residual(2, 6, 1), Residual(6, 6, 1)), 6),
    "dense": lambda: (nn.Sequential(ConvUnit(2, 4), Dense(4, 3), Dense(7, 3)), 10),
    "mobile": lambda: (nn.Sequential(MobileBlock(2, 8, 5), MobileBlock(5, 8, 5)), 5),
    "depthwise": lambda: (nn.Sequential(ConvUnit(2, 6), Depthwise(6, 5, "zeros")), 5),
    "excite": lambda: (nn.Sequential(ConvUnit(2, 6), Excite(6, 3)), 6),
    "grouped": lambda: (nn.Sequential(ConvUnit(2, 8), nn.Conv2d(8, 8, 3, groups=2)), 8),
    "transposed": lambda: (nn.Sequential(nn.ConvTranspose2d(2, 6, 2), ConvUnit(6, 5)), 5),
    "block": lambda: (
        nn.Sequential(ConvUnit(2, 5), Shortcut(5, 4, is_relu_last=True)),
        5,
    ),
    "attention": lambda: (Attention(2, 8), 8),
}


def make_supernet(name: str, seed: int = 0) -> Supernet:
    """Build the supernet of a body by name, with pictures of 2 x 6 x 6 and three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, n_features = BODIES[name]()
        net = scramble_norms(Classifier(body, n_features, "mean")).eval()
        for parameter in net.parameters():
            if not parameter.any():  # attention starts without biases
                nn.init.normal_(parameter)
        return build_supernet(net, torch.randn(2, 2, 6, 6), ratios=(0.25, 0.5, 0.75))


def make_batches(n: int = 2, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Draw batches of pictures and labels."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 2, 6, 6, generator=generator), torch.arange(size) % 3) for _ in range(n)
    ]
