"""Linear layers with the weight the other way round, as GPT-2's are; transformers may be missing."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units


class Conv1D(nn.Module):
    """What a layer of that name of transformers is."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.randn(nx, nf) / 4)
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.size()[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(shape)


Conv1D.__module__, Conv1D.__qualname__ = "transformers.pytorch_utils", "Conv1D"


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Linear(6, 8), Conv1D(12, 8), Conv1D(8, 12)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.down(self.up(x).relu()))


@pytest.fixture(autouse=True)
def package(monkeypatch):
    module = ModuleType("transformers.pytorch_utils")
    module.Conv1D = Conv1D
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    monkeypatch.setitem(sys.modules, "transformers.pytorch_utils", module)


X = torch.randn(2, 5, 6)


def test_both_of_its_axes_are_narrowed_counted_and_extracted() -> None:
    supernet = build_supernet(Mlp().eval(), X)
    assert [group.name for group in supernet.groups] == ["embed", "up"]
    footprint, space = build_footprint(supernet), supernet.space
    assert footprint.measure(space.full)["macs"] == 5 * (6 * 8 + 2 * 8 * 12 + 8 * 3)
    rng = np.random.default_rng(0)
    for widths in (space.smallest, *(space.sample(rng) for _ in range(3))):
        subnet = extract_subnet(supernet, widths)
        assert type(subnet.up) is Conv1D
        assert (subnet.up.nx, subnet.up.nf) == widths.active
        assert footprint.measure(widths)["params"] == sum(p.numel() for p in subnet.parameters())
        supernet.zero_grad()
        with supernet.active(widths):
            narrow = supernet(X)
        torch.testing.assert_close(subnet(X), narrow)
        narrow.sum().backward()
        subnet(X).sum().backward()
        whole = supernet.net.up.weight.grad
        torch.testing.assert_close(whole[: subnet.up.nx, : subnet.up.nf], subnet.up.weight.grad)


def test_its_units_can_be_reordered() -> None:
    supernet = build_supernet(Mlp().eval(), X)
    before = supernet(X)
    scores = measure_unit_importance(supernet, criterion="group_magnitude").by_group()
    found = reorder_units(supernet, scores)
    assert not found.left
    assert all(list(order) != sorted(order) for order in found.orders)
    torch.testing.assert_close(supernet(X), before)
