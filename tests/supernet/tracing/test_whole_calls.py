"""Tensors made by sizes: a part of the trace, and PyTorch as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from supernet.exactness import assert_exact
from torch import Tensor
from torch import nn
from torch import zeros

from dpod_search.errors import GroupingError
from dpod_search.inputs import read_example
from dpod_search.supernet import build_supernet
from dpod_search.supernet.tracing.trace import trace_model
from dpod_search.supernet.tracing.whole_calls import CREATORS


PICTURE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Padded(nn.Module):
    """Adds zeros of sizes that it reads, in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.width = nn.Conv2d(3, 6, 1), 6
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        y = self.conv(x) + torch.zeros(n, self.width, height, width)
        y = y + zeros((n, y.size(1), height, width)) + y.new_ones(n, self.width, 1, 1)
        return self.head(y)


def test_they_are_operations_under_any_name() -> None:
    traced = trace_model(Padded(), read_example(PICTURE))
    made = [node for node in traced.graph.nodes if node.target in CREATORS]
    assert [traced.shapes[node] for node in made] == [(2, 6, 4, 4)] * 2


def test_an_attribute_that_sizes_them_is_a_width() -> None:
    class Plain(Padded):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.head(y + torch.ones(x.size(0), self.width, 1, 1) + y.new_zeros(1, 1, 1, 1))

    supernet = build_supernet(Plain(), PICTURE)
    assert [group.name for group in supernet.groups] == ["conv"]
    assert_exact(supernet, PICTURE, n_trained=1)


class Constants(Padded):
    """Adds constants that are made as large as its features, by sizes one by one."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        n, height = x.size(0), x.size(2)
        y = y + torch.zeros(1, 1, 1, 1).expand(n, -1, height, -1)
        y = y + torch.full((1,), 0.5).new_ones(n, y.size(1), 1, 1)
        y = y * torch.ones(1).repeat(n, y.shape[1], 1, 1) + torch.arange(4.0).view(height, -1)
        y = y + torch.ones(4).reshape(x.shape[-1], 1) + torch.ones(1).tile(height, 1)
        return self.head(y)


def test_constants_are_expanded_by_sizes() -> None:
    supernet = build_supernet(Constants(), PICTURE)
    assert [group.name for group in supernet.groups] == ["conv"]
    assert_exact(supernet, PICTURE, n_trained=1)
    # Not as many samples as the example has.
    assert supernet(PICTURE[:1]).shape == (1, 2, 4, 4)


def test_a_constant_is_not_expanded_by_the_values_of_a_tensor() -> None:
    class Net(Padded):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x) + torch.zeros(1, 1).expand(x.argmax(), -1).sum())

    with pytest.raises(GroupingError, match="depends on the values of a tensor"):
        build_supernet(Net(), PICTURE)


def test_a_shape_has_a_length_and_a_tensor_has_none() -> None:
    class Net(Padded):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            if len(y.shape) == 4 and len(y.shape[2:]) == 2:
                y = y.mean(len(y.shape) - 1, keepdim=True)
            return self.head(y)

    supernet = build_supernet(Net(), PICTURE)
    assert [group.name for group in supernet.groups] == ["conv"]
    assert_exact(supernet, PICTURE, n_trained=1)

    class Long(Padded):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x) * len(x))

    with pytest.raises(GroupingError, match="only shapes have a length"):
        build_supernet(Long(), PICTURE)


@pytest.mark.parametrize("fails", [False, True])
def test_pytorch_is_as_it_was(fails: bool) -> None:
    class Net(Padded):
        def forward(self, x: Tensor) -> Tensor:
            if fails and x.sum() > 0:
                return x
            return super().forward(x)

    before = [getattr(torch, function.__name__) for function in CREATORS]
    if fails:
        with pytest.raises(GroupingError, match="values of a tensor"):
            trace_model(Net(), read_example(PICTURE))
    else:
        trace_model(Net(), read_example(PICTURE))
    assert before == [getattr(torch, function.__name__) for function in CREATORS]
    assert zeros is torch.zeros
    assert not vars(Tensor).keys() & {"expand", "view", "new_zeros"}


def test_a_method_that_someone_else_put_there_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def tile(self: Tensor, *sizes: int) -> Tensor:
        return self.repeat(*sizes)

    monkeypatch.setattr(Tensor, "tile", tile, raising=False)
    trace_model(Padded(), read_example(PICTURE))
    assert vars(Tensor)["tile"] is tile
