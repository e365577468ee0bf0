"""Nets that are awkward to write as code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import fx
from torch import nn


SHAPE = (3, 8, 8)


class Plain(nn.Module):
    """Layers of several kinds, by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, (3, 1), padding=(1, 0), groups=3)
        self.norm = nn.GroupNorm(2, 6, eps=1e-3)
        self.pool = nn.MaxPool2d(2)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.head = nn.Linear(6 * 16, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.conv(x))))
        return self.head(x.flatten(1))


class Residual(nn.Module):
    """The input is read after it was used; sums in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out += x
        return F.relu(out)


class Branches(nn.Module):
    """Names that are no identifiers, a list of modules, arithmetic, slices, and sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Residual(3) for _ in range(3))
        self.by_name = nn.ModuleDict({"a": nn.Conv2d(3, 3, 1), "keys_": Residual(3)})
        self.add_module("9", nn.Conv2d(3, 4, 1))
        self.lambda_ = nn.Parameter(torch.ones(1, 3, 1, 1) * 0.3)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        parts = [step(x) for step in self.steps]
        y = (parts[0] - parts[1] * 2) / (1 + self.lambda_) + parts[2][:, :, ::1]
        y = torch.cat([self.by_name["a"](y), self.by_name["keys_"](x)], dim=3)
        y = self.get_submodule("9")(y[..., :width])
        y = y.reshape(n, 4, height * width).mean(-1)
        return self.head(y * math.sqrt(2) ** -1)


class Tokens(nn.Module):
    """Parameters and buffers of its own, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.register_buffer("order", torch.tensor([1, 0, *range(2, 17)]))
        self.register_buffer("scale", torch.tensor([0.5, 2.0]), persistent=False)
        self.embed = nn.Conv2d(3, 6, 2, stride=2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)[:, self.order]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.norm(x)[:, 0]) * self.scale[1]


def shift(x: Tensor, by: int) -> Tensor:
    """Move pictures sideways; it branches, so it is wrapped."""
    if x.sum() > math.inf:
        return x
    return _roll(x, by)


def _roll(x: Tensor, by: int) -> Tensor:
    return torch.roll(x, by, dims=AXES)


AXES = (2, 3)[1:]
fx.wrap("shift")


class Wrapped(nn.Module):
    """A function that is traced as one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(shift(x, 1)).mean((2, 3))


class Shared(nn.Module):
    """One module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Residual(3)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.block(x)).mean((2, 3)))


class Scaled(nn.Conv2d):
    """A subclass of a layer that computes otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * 2, self.bias, self.stride, self.padding)


class Named(nn.Conv2d):
    """A subclass of a layer in name only."""


class Parts(nn.Module):
    """Has the name of the file's own class, and layers of classes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = Scaled(3, 4, 3, stride=2)
        self.named = Named(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.named(self.scaled(x)).mean((2, 3))


class Row(nn.Sequential):
    """Runs its layers in a row, and keeps what comes of the second."""

    def forward(self, x: Tensor) -> Tensor:
        kept = self[1](self[0](x))
        return kept + self[2](kept)


class Rows(nn.Sequential):
    """Nothing but rows, one of which computes otherwise."""

    def __init__(self) -> None:
        super().__init__(
            Row(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)),
            nn.Sequential(nn.Dropout(0.5), nn.Sequential()),
            nn.Flatten(),
        )


class Recurrent(nn.Module):
    """Recurrent layers of all kinds; the rows of its input are steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 6, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.gru = nn.GRU(12, 5, bias=False)
        self.rnn = nn.RNN(12, 5, nonlinearity="relu")
        self.head = nn.Linear(17, 5)

    def forward(self, x: Tensor) -> Tensor:
        x, (states, _) = self.lstm(x.transpose(1, 2).flatten(2))
        x = x.transpose(0, 1)
        parts = [states[-1], states[0], self.gru(x)[0][-1]]
        return self.head(torch.cat(parts, 1)) + self.rnn(x)[1][0]


NETS = (Plain, Branches, Tokens, Wrapped, Shared, Parts, Rows, Recurrent)


class Dependent(nn.Module):
    """Looks at its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class BySize(nn.Module):
    """Divides by a number that its input has the size of."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) / float(x.shape[2] * x.shape[3])


class BySizeAlone(nn.Module):
    """Goes another way with larger pictures."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.shape[2] < 20 else -x.flatten(1)


class Settings(nn.Module):
    """Asks where its input is, and of which kind."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.arange(x.shape[3], device=x.device).to(x.dtype)
        return self.head((x * ramp).mean((2, 3)))


class Tied(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).flatten(1)


class BigConstant(nn.Module):
    """Adds numbers that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("noise", torch.randn(3, 30, 30), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.noise[:, :8, :8]).flatten(1)


REFUSED = (
    (Dependent, "cannot be traced"),
    (BySize, "cannot be traced"),
    (BySizeAlone, "cannot be traced"),
    (Tied, "first and second are one and the same module"),
    (BigConstant, "noise is a tensor of 2700 numbers that is no part of the weights"),
)
