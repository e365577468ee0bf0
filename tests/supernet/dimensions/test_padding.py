"""Channels that are padded: a stage is narrowed beside them, exactly."""

from __future__ import annotations

import pytest
import torch
from supernet.exactness import assert_exact
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.supernet import build_supernet


X = torch.randn(2, 3, 8, 8)


class Block(nn.Module):
    """A residual block whose shortcut has no weights where it widens: zeros stand in for channels."""

    def __init__(self, n_inputs: int, n_outputs: int, *, says_how_many: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(
            n_inputs, n_outputs, 3, padding=1, stride=self.step(n_inputs, n_outputs)
        )
        self.norm = nn.BatchNorm2d(n_outputs)
        self.second = nn.Conv2d(n_outputs, n_outputs, 3, padding=1)
        self.n_zeros = (n_outputs - n_inputs) // 2
        self.amounts = None if says_how_many else (0, 0, 0, 0, float(self.n_zeros))

    @staticmethod
    def step(n_inputs: int, n_outputs: int) -> int:
        return 1 if n_inputs == n_outputs else 2

    def forward(self, x: Tensor) -> Tensor:
        new = self.second(torch.relu(self.norm(self.first(x))))
        if not self.n_zeros:
            return torch.relu(new + x)
        n = self.n_zeros if self.amounts is None else int(self.amounts[-1])
        return torch.relu(new + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, n, n)))


def make_net(*, says_how_many: bool) -> nn.Module:
    torch.manual_seed(0)
    widths = [(6, 6), (6, 10), (10, 10), (10, 30), (30, 30)]
    blocks = [Block(*pair, says_how_many=says_how_many) for pair in widths]
    ends = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(30, 4))
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *blocks, ends).eval()


def test_a_stage_is_narrowed_between_padded_channels() -> None:
    """What one branch alone makes keeps its width; the middle is that of the stage before."""
    supernet = build_supernet(make_net(says_how_many=False), X)

    names = {group.name: group.full_width for group in supernet.groups if group.kind != "block"}
    assert names == {"0": 6, **{f"{i + 1}.first": n for i, n in enumerate((6, 10, 10, 30, 30))}}
    told = {item.name: item.full_width for item in supernet.grouping.frozen}
    assert told == {
        "2.second[0]": 2, "2.second[2]": 2, "4.second[0]": 10, "4.second[4]": 10, "6.2": 4
    }  # fmt: skip
    assert_exact(supernet, X, widths=sample_widths(supernet, 6))


def test_padded_channels_are_as_many_as_an_attribute_says() -> None:
    supernet = build_supernet(make_net(says_how_many=True), X)

    names = {group.name: group.full_width for group in supernet.groups if group.kind != "block"}
    assert {"0": 6, "2.second[0]": 2, "4.second[0]": 10}.items() <= names.items()
    assert [item.name for item in supernet.grouping.frozen] == ["6.2"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 6))


@pytest.mark.parametrize(
    ("amounts", "mode"), [((0, 0, 0, 0, -1, 1), "constant"), ((1, 1, 2, 1), "reflect")]
)
def test_padding_that_crops_or_mirrors(amounts: tuple[int, ...], mode: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1)
            self.last = nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.second(F.pad(self.first(x), amounts, mode)))

    supernet = build_supernet(Net(), X)

    crops = mode == "constant"
    assert (
        [group.name for group in supernet.groups] == ["second"] if crops else ["first", "second"]
    )
    assert_exact(supernet, X, widths=sample_widths(supernet, 4))
