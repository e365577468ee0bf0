"""Sums of tables say what the closed forms say, at every choice of rungs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from footprint.test_peak_bytes import NETS
from footprint.test_peak_bytes import Block
from footprint.test_peak_bytes import pictures
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Net
from strategies import graphs
from strategies import nets
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.footprint import METRICS
from dpod_search.footprint import build_footprint
from dpod_search.footprint import tabulate_footprint
from dpod_search.footprint.activations import find_moments
from dpod_search.models.torchvision_nets import build_torchvision_net
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.torchvision_ops import import_torchvision
from dpod_search.widths import BLOCK_RUNGS


Rungs = npt.NDArray[np.int64]


def draw_rungs(supernet: Supernet, rng: np.random.Generator, n: int) -> Rungs:
    """Draw rungs of all kinds: any, the first and last ones only, and without blocks removed."""
    space = supernet.space
    last = np.array(space.n_rungs) - 1
    rungs = rng.integers(0, last + 1, size=(n, len(last)))
    rungs[::2] = np.where(rng.random(rungs[::2].shape) < 0.5, 0, last)
    is_block = np.array([each == BLOCK_RUNGS for each in space.rungs])
    rungs[::3] = np.where(is_block, 1, rungs[::3])
    rungs[0], rungs[-1] = 0, last
    return rungs


def assert_tables_say_the_same(supernet: Supernet, rungs: Rungs) -> None:
    widths = [supernet.space.from_rungs(row).active for row in rungs]
    counted = build_footprint(supernet).table(widths)
    tabulated = tabulate_footprint(supernet)

    assert list(tabulated) == list(METRICS)
    for name, sums in tabulated.items():
        found = np.max([each.at(rungs) for each in sums], axis=0)
        np.testing.assert_array_equal(np.rint(found), counted[name], err_msg=name)
        assert name == "peak_bytes" or len(sums) == 1
        if name != "peak_bytes":  # which has shares of a batch in it
            np.testing.assert_array_equal(found, counted[name], err_msg=name)


def check(model: nn.Module, example: Tensor, n: int = 600) -> Supernet:
    supernet = build_supernet(model.eval(), example)
    assert_tables_say_the_same(supernet, draw_rungs(supernet, np.random.default_rng(0), n))
    return supernet


@settings(max_examples=60)
@given(st.one_of(nets(), graphs()), st.integers(0, 999))
def test_random_nets(net: Net, seed: int) -> None:
    try:
        supernet = build_supernet(net.model, net.example)
    except GroupingError:
        return
    assert_tables_say_the_same(supernet, draw_rungs(supernet, np.random.default_rng(seed), n=60))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_removable_blocks_and_attention(name: str, batch_size: int) -> None:
    check(NETS[name](), torch.randn(batch_size, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "most_moments"),
    [
        ("resnet18", 20),
        ("resnet50", 50),
        ("mobilenet_v2", 20),
        ("shufflenet_v2_x0_5", 50),
        ("efficientnet_b0", 20),
    ],
)
def test_published_nets_have_few_moments(name: str, most_moments: int) -> None:
    supernet = check(
        build_torchvision_net(name, n_classes=10, arguments={}), torch.randn(1, 3, 64, 64)
    )

    assert len(tabulate_footprint(supernet)["peak_bytes"]) <= most_moments


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("DenseNet", {"growth_rate": 8, "block_config": (3, 2), "num_init_features": 8}, 32),
        (
            "VisionTransformer",
            {"image_size": 16, "patch_size": 4, "num_layers": 3, "num_heads": 4}
            | {"hidden_dim": 32, "mlp_dim": 48},
            16,
        ),
    ],
)
def test_published_nets_made_small(name: str, arguments: dict[str, object], size: int) -> None:
    model = getattr(import_torchvision("models"), name)(**arguments)

    check(model, torch.randn(1, 3, size, size))


class TiedBlock(nn.Module):
    """A removable block whose first weight others hold too."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(6, 6), nn.Linear(6, 6)
        self.into.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.into(x).relu())


def tie(n_blocks: int) -> nn.Module:
    weight = nn.Parameter(torch.eye(6))
    return nn.Sequential(
        nn.Linear(4, 6), *(TiedBlock(weight) for _ in range(n_blocks)), nn.Linear(6, 2)
    )


def test_weights_that_removable_blocks_share() -> None:
    supernet = build_supernet(tie(4), torch.zeros(2, 4))

    rungs = np.array(list(itertools.product(*map(range, supernet.space.n_rungs))))
    assert_tables_say_the_same(supernet, rungs)


def test_weights_that_too_many_blocks_share_are_refused() -> None:
    supernet = build_supernet(tie(14), torch.zeros(2, 4))

    with pytest.raises(ConfigError, match="13 removable blocks share a weight"):
        tabulate_footprint(supernet)


class Shifted(Block):
    """A block that holds numbers outside any layer."""

    def __init__(self) -> None:
        super().__init__(8, "relu")
        self.register_buffer("shift", torch.rand(1, 8, 1, 1))
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * x.mean() + self.shift


def test_numbers_outside_layers() -> None:
    supernet = check(pictures(Shifted(), Block(8, "relu")), torch.randn(1, 3, 8, 8))

    with_it, without = (
        tabulate_footprint(each)["weight_bytes"][0].at([np.array(each.space.n_rungs) - 1])
        for each in (supernet, build_supernet(pictures(*blocks()).eval(), torch.randn(1, 3, 8, 8)))
    )
    assert with_it - without == 2 * 8 * 4


def blocks() -> list[nn.Module]:
    return [Block(8, "relu"), Block(8, "relu")]


def test_shares_of_a_batch_are_whole_where_they_can_be() -> None:
    """4 / 49 * 49 is a little less than 4 in floating point."""
    supernet = build_supernet(pictures(*blocks()).eval(), torch.randn(49, 3, 8, 8))

    tables = [
        term.table
        for sums in tabulate_footprint(supernet).values()
        for each in sums
        for term in each.terms
    ]
    assert all((table == np.rint(table)).all() for table in tables)


class LongSkip(nn.Module):
    """Removable blocks between a tensor and its addition to what they make of it."""

    def __init__(self, make_block: Callable[[], nn.Module], n_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList(make_block() for _ in range(n_blocks))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = x
        for block in self.blocks:
            y = block(y)
        return self.head((x + y).mean((2, 3)))


def test_a_result_that_is_there_with_any_of_many_blocks() -> None:
    supernet = check(LongSkip(lambda: Block(8, "relu"), 16), torch.randn(1, 3, 8, 8))

    gates = [term.gate for moment in find_moments(supernet.grouping) for term in moment]
    # The net is what this test takes it for: with 2**15 parts, were they multiplied out.
    assert max(len(clause) for gate in gates for clause in gate) >= 15


def test_a_part_of_many_groups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = build_supernet(NETS["attention"]().eval(), torch.randn(1, 3, 8, 8))
    monkeypatch.setattr("dpod_search.footprint.tabulating._MOST_CELLS", 3)

    with pytest.raises(ConfigError, match="peak memory depends on 2 groups at once"):
        tabulate_footprint(supernet)


def test_parts_are_few_and_small() -> None:
    """Layers of the same groups and blocks share a table, whose arity is that of a layer."""
    supernet = build_supernet(
        build_torchvision_net("mobilenet_v2", n_classes=10, arguments={}).eval(),
        torch.randn(1, 3, 32, 32),
    )

    for sums in tabulate_footprint(supernet).values():
        for each in sums:
            keys = [(term.groups, term.blocks) for term in each.terms]
            assert len(set(keys)) == len(keys)
            assert max(len(term.groups) for term in each.terms) <= 2
            assert all(term.table.any() for term in each.terms)
