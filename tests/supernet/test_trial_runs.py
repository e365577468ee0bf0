"""Trial runs: each group is tried narrow in training mode, inside its block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.supernet import build_supernet


class _Net(nn.Module):
    """Reads one of its hidden layers with a second head, in training mode only."""

    def __init__(self, read: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(6)])
        self.head, self.second = nn.Linear(8, 3), nn.Linear(8, 3)
        self.settings = {"read": read}

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        seen = x
        for i, layer in enumerate(self.layers):
            x = layer(x).relu()
            seen = x if i == self.settings["read"] else seen
        return (self.head(x), self.second(seen)) if self.training else self.head(x)


@pytest.mark.parametrize("ratios", [(0.5,), (0.5, 0.75), (0.25, 0.5, 0.75)])
@pytest.mark.parametrize("read", range(5))
def test_what_only_training_reads_keeps_its_width(read: int, ratios: tuple[float, ...]) -> None:
    supernet = build_supernet(_Net(read), torch.zeros(2, 8), ratios=ratios)

    assert f"layers.{read}" not in supernet.space.names
    assert len(supernet.groups) == 5


def test_a_width_that_counts_repetitions_is_frozen() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(8, 8)
            self.mix = nn.Linear(8, 8)
            self.hidden = nn.Linear(8, 6)
            self.head = nn.Linear(6, 3)
            self.n_heads = 4

        def forward(self, x: Tensor) -> Tensor:
            y = self.project(x).view(x.size(0), x.size(1), self.n_heads, 2).mean(1).flatten(1)
            for _ in range(self.n_heads):
                y = self.mix(y)
            return self.head(self.hidden(y))

    supernet = build_supernet(Loop(), torch.randn(2, 5, 8))

    frozen = {item.name: item.reasons for item in supernet.grouping.frozen}
    assert "running it narrower fails" in frozen["project"]
    assert [group.name for group in supernet.groups] == ["hidden"]
