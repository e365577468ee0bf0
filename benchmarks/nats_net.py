"""The network of NATS-Bench's size space, as a model whose five widths become channel groups.

A 3x3 stem, three cells of four nodes, two residual blocks between them that halve the picture. The
published networks have the identity as a cell's skip where the widths before and after are equal,
and a projection where they are not. A model has to be one or the other, so this one projects where
the two widths are groups of their own (the second and the third cell), and
:func:`count_published` takes off what the identity saves.

References:
    Dong et al.: NATS-Bench, 2020, section 3 (arXiv 2009.00437): the size space and the cell.
    He, Zhang, Ren and Sun, 2016 (arXiv 1512.03385): the residual block.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.supernet import combine
from dpod_search.supernet.lookup import OwnHandlers
from dpod_search.widths import IntArray


FULL_WIDTHS = (64, 64, 64, 64, 64)
RATIOS = tuple(eighth / 8 for eighth in range(1, 9))
N_CLASSES = 10


class ReluConvNorm(nn.Module):
    """ReLU, a 3x3 convolution, BatchNorm: an edge of a cell.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Of the convolution.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        """Draw the weights from the global generator."""
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Run the edge on ``batch x n_in x height x width``."""
        y: Tensor = self.norm(self.conv(F.relu(x)))
        return y


class Projection(nn.Module):
    """A 1x1 convolution and BatchNorm: the skip between two widths.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Draw the weights from the global generator."""
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Run the projection on ``batch x n_in x height x width``."""
        y: Tensor = self.norm(self.conv(x))
        return y


class OneWidth(nn.Module):
    """The first of several tensors; says that all have one width, which adding them would say.

    The size space gives all nodes of a cell one width, though nothing in the cell needs it.
    """

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Return ``x``; all are ``batch x channels x height x width``."""
        return x


class Cell(nn.Module):
    """Four nodes, five convolutions, and a skip from the first node to the last.

    Args:
        n_in: Channels of the first node.
        n_out: Channels of the others.
        projects: The skip is a projection; else the identity, which needs equal widths.
    """

    def __init__(self, n_in: int, n_out: int, *, projects: bool) -> None:
        """Build the edges."""
        super().__init__()
        self.edge01 = ReluConvNorm(n_in, n_out)
        self.edge02 = ReluConvNorm(n_in, n_out)
        self.edge12 = ReluConvNorm(n_out, n_out)
        self.edge13 = ReluConvNorm(n_out, n_out)
        self.edge23 = ReluConvNorm(n_out, n_out)
        self.skip: nn.Module = Projection(n_in, n_out) if projects else nn.Identity()
        self.one_width = OneWidth()

    def forward(self, x: Tensor) -> Tensor:
        """Run the cell on ``batch x n_in x height x width``."""
        first = self.edge01(x)
        second = self.edge02(x) + self.edge12(first)
        third = self.skip(x) + self.edge13(first) + self.edge23(second)
        y: Tensor = self.one_width(third, second, first)
        return y


class Reduction(nn.Module):
    """A residual block that halves the picture; its shortcut averages, then projects.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Build the two convolutions and the shortcut."""
        super().__init__()
        self.conv_a = ReluConvNorm(n_in, n_out, stride=2)
        self.conv_b = ReluConvNorm(n_out, n_out)
        self.pool = nn.AvgPool2d(2)
        self.project = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.one_width = OneWidth()

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on ``batch x n_in x height x width``; both sides even."""
        first = self.conv_a(x)
        y: Tensor = self.one_width(self.project(self.pool(x)) + self.conv_b(first), first)
        return y


class NatsNet(nn.Module):
    """One network of the size space.

    Args:
        widths: Channels c0 .. c4.
        n_classes: Outputs of the head.
        always_projects: The skips of the second and the third cell project even between equal
            widths, so that the widths are not tied together.
    """

    def __init__(
        self, widths: Sequence[int], *, n_classes: int = N_CLASSES, always_projects: bool = False
    ) -> None:
        """Build the net, its weights drawn from the global generator."""
        super().__init__()
        c0, c1, c2, c3, c4 = widths
        self.stem = nn.Conv2d(3, c0, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(c0)
        self.cell1 = Cell(c0, c0, projects=False)
        self.reduction1 = Reduction(c0, c1)
        self.cell2 = Cell(c1, c2, projects=always_projects or c1 != c2)
        self.reduction2 = Reduction(c2, c3)
        self.cell3 = Cell(c3, c4, projects=always_projects or c3 != c4)
        self.norm = nn.BatchNorm2d(c4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(c4, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify pictures.

        Args:
            x: A ``batch x 3 x side x side`` tensor; sides of a multiple of four.

        Returns:
            Logits, ``batch x n_classes``.
        """
        x = self.cell1(self.stem_norm(self.stem(x)))
        x = self.cell2(self.reduction1(x))
        x = self.cell3(self.reduction2(x))
        logits: Tensor = self.head(self.pool(F.relu(self.norm(x))).flatten(1))
        return logits


# What tells the discovery of channel groups that all nodes of a cell share a width.
HANDLERS: OwnHandlers = {OneWidth: combine}


def build_full_net() -> NatsNet:
    """Build the widest net, in the form that a supernet is made of."""
    net = NatsNet(FULL_WIDTHS, always_projects=True)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def count_published(
    footprints: Mapping[str, IntArray], widths: IntArray, *, side: int = 32
) -> dict[str, IntArray]:
    """Turn the footprints of a supernet's subnets into those of the published networks.

    Args:
        footprints: ``macs`` and ``params`` by the footprint model, each of shape (n,).
        widths: Channels c0 .. c4, shape (n, 5).
        side: Height and width of the pictures, in pixels.

    Returns:
        ``macs`` and ``params`` as the table has them, at a side of 32.
    """
    macs = np.array(footprints["macs"]) + N_CLASSES
    params = np.array(footprints["params"])
    for before, after, shrunk in ((1, 2, 2), (3, 4, 4)):
        channels = widths[:, after].astype(np.int64)
        is_identity = widths[:, before] == widths[:, after]
        macs -= is_identity * channels**2 * (side // shrunk) ** 2
        params -= is_identity * (channels**2 + 2 * channels)
    return {"macs": macs, "params": params}
