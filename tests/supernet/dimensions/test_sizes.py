"""An attribute that sizes a fixed axis somewhere is no width, wherever else it is used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.supernet import build_supernet


USES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "slice": lambda net, x: x[:, :, : net.dim],
    "computed slice": lambda net, x: x[:, :, : net.dim // 2],
    "split": lambda net, x: x.split(net.dim, 2)[0],
    "repeat": lambda net, x: x.repeat(1, 1, net.dim),
    "expand": lambda net, x: x.mean(2, keepdim=True).expand(-1, -1, net.dim),
    "not understood": lambda net, x: x.detach() + 0 * x.narrow(2, 0, net.dim).sum(2, keepdim=True),
}


class _Net(nn.Module):
    def __init__(self, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.dim = 8
        self.stem, self.last = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 1)
        self.head, self.use = nn.Linear(8, 2), use

    def forward(self, x: Tensor) -> Tensor:
        held = self.stem(x).view(x.shape[0], self.dim, -1)
        return self.head(self.last(self.use(self, held)).mean(2))


@pytest.mark.parametrize("name", USES)
def test_an_attribute_that_sizes_a_fixed_axis_is_no_width(name: str) -> None:
    supernet = build_supernet(_Net(USES[name]), torch.zeros(2, 3, 18))

    assert supernet.space.names == ("last",)
    assert not supernet.grouping.attributes
