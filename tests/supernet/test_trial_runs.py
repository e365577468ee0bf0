"""Trial runs: each group is tried narrow in training mode, inside its block."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.inputs import ModelCall
from dpod_search.inputs import read_example
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.trial_runs import TrialRuns
from dpod_search.supernet.trial_runs import _spread_rungs
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


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


class _Masked(nn.Module):
    """Blanks places in training that NumPy and Python choose."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        if self.training:
            x = x * np.random.rand() * random.random()  # noqa: NPY002
        return self.head(x)


def test_twins_draw_the_same_numbers_from_numpy_and_python_and_put_them_back() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    supernet = build_supernet(_Masked(), torch.randn(2, 8))
    assert supernet.space.names == ("hidden",)
    assert states == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


class _Halves(nn.Module):
    """Adds what two layers make in training only, between others that are sound."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(11)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for layer in self.layers:
            x = layer(x).relu()
            seen.append(x)
        x = self.head(x)
        return x + (seen[2] + seen[7]).sum() if self.training else x


@pytest.mark.parametrize("is_thorough", [False, True])
def test_two_that_must_share_a_width_are_both_found(is_thorough: bool) -> None:
    runs: list[set[str]] = []

    class Watched(TrialRuns):
        def find_failing_groups(self, **_options: bool) -> set[str]:
            runs.append(super().find_failing_groups(is_thorough=is_thorough))
            return runs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpod_search.supernet.build.TrialRuns", Watched)
        supernet = build_supernet(_Halves(), torch.ones(2, 8))
    assert runs == [{"layers.2", "layers.7"}]
    assert len(supernet.groups) == 9


def test_results_that_a_model_keeps_in_a_dictionary_are_copied() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
            self.kept: dict[str, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            self.kept["hidden"] = self.hidden(x)
            return self.head(self.kept["hidden"])

    model = Keeping()
    model(torch.ones(2, 8))
    supernet = build_supernet(model, torch.ones(2, 8))
    supernet(torch.ones(2, 8))
    extract_subnet(supernet, supernet.space.smallest)


def count_runs(monkeypatch: pytest.MonkeyPatch, net: nn.Module, x: Tensor) -> int:
    """Return how many nets were run to try subnets, and the layout of memory out."""
    n_runs = 0
    run = ModelCall.run

    def count(self: ModelCall, model: Any) -> Any:
        nonlocal n_runs
        n_runs += 1
        return run(self, model)

    supernet = build_supernet(net.eval(), x)
    runs = TrialRuns(supernet, read_example(x), [(len(x), 3)])
    monkeypatch.setattr(ModelCall, "run", count)
    assert runs.runs_narrow()
    assert runs.runs_channels_last() is supernet.grouping.runs_channels_last
    return n_runs


def test_what_is_known_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pairs of twins; neither the full net, whose numbers nobody doubts, nor another layout."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )

    assert count_runs(monkeypatch, net, torch.randn(2, 3, 6, 6)) == 8


def test_what_fails_on_channels_last_tensors_is_compared_on_contiguous_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).view(x.shape[0], -1))

    # Two more for the attempt, and one for what the supernet is asked of it in the end.
    assert count_runs(monkeypatch, Viewing(), torch.randn(2, 3, 6, 6)) == 11


def test_where_the_full_net_cannot_train_the_spread_widths_are_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untrainable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("needs labels")
            return self.head(self.hidden(x))

    supernet = build_supernet(Untrainable().eval(), torch.randn(2, 3))
    runs = TrialRuns(supernet, read_example(torch.randn(2, 3)), [(2, 3)])
    modes: list[bool] = []
    agrees = TrialRuns._agrees_at

    def note(self: TrialRuns, widths: Widths, *, trains: bool, **options: Any) -> bool:
        modes.append(trains)
        return agrees(self, widths, trains=trains, **options)

    monkeypatch.setattr(TrialRuns, "_agrees_at", note)
    assert runs._trains_at(runs._spread)
    assert modes == [True, False]


@pytest.mark.parametrize("n_rungs", [2, 3, 4, 8])
def test_spread_widths_are_neither_alike_nor_full(n_rungs: int) -> None:
    space = WidthSpace.from_ratios(
        {f"g{i}": 64 for i in range(9)}, [(i + 1) / n_rungs for i in range(n_rungs)]
    )

    rungs = _spread_rungs(space)

    assert all(one != two for one, two in itertools.pairwise(rungs))
    assert n_rungs < 4 or set(rungs) == set(range(1, n_rungs - 1))
