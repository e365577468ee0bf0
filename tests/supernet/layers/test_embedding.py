"""Embeddings: their width is a group, coupled through what they are added to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.evaluation import RepairingEvaluator
from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units
from dpod_search.widths import Widths


IDS = torch.randint(0, 50, (3, 10), generator=torch.Generator().manual_seed(0))


class Positions(nn.Embedding):
    """Looks up places, which begin behind two numbers that are kept for other things."""

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device) + 2
        return F.embedding(places, self.weight)


class Text(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16, **options)
        self.positions = Positions(12, 16)
        self.norm = nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(ids)
        x = x + self.down(self.up(self.norm(x)).relu())
        return self.head(x.mean(1))


def test_one_width_for_all_that_is_added_and_it_costs_no_macs() -> None:
    supernet = build_supernet(Text(padding_idx=0).eval(), IDS)
    assert [group.name for group in supernet.groups] == ["words", "up"]
    assert set(supernet.groups[0].members) >= {"words", "positions", "down", "norm"}
    assert not supernet.grouping.uncounted
    footprint = build_footprint(supernet)
    assert footprint.measure(supernet.space.full)["macs"] == 10 * 2 * 16 * 24 + 16 * 3


def run_both(supernet: Supernet, subnet: nn.Module, widths: Widths) -> None:
    """Run a subnet and its extracted twin forward, compare them, and run both backward."""
    supernet.zero_grad()
    with supernet.active(widths):
        narrow = supernet(IDS)
    torch.testing.assert_close(subnet(IDS), narrow)
    narrow.square().sum().backward()
    subnet(IDS).square().sum().backward()


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_narrow_is_extracted_in_value_and_gradient(padding_idx: int | None) -> None:
    supernet = build_supernet(Text(padding_idx=padding_idx).eval(), IDS).eval()
    footprint = build_footprint(supernet)
    rng = np.random.default_rng(0)
    for widths in (supernet.space.smallest, *(supernet.space.sample(rng) for _ in range(4))):
        subnet = extract_subnet(supernet, widths).eval()
        assert type(subnet.words) is nn.Embedding
        assert type(subnet.positions) is Positions
        assert subnet.words.embedding_dim == subnet.positions.embedding_dim == widths["words"]
        assert subnet.words.padding_idx == padding_idx
        counted = sum(p.numel() for p in subnet.parameters())
        assert footprint.measure(widths)["params"] == counted
        run_both(supernet, subnet, widths)
        for name in ("words", "positions"):
            whole = supernet.net.get_submodule(name).weight.grad
            cut = subnet.get_submodule(name).weight.grad
            torch.testing.assert_close(whole[:, : widths["words"]], cut)
            assert not whole[:, widths["words"] :].any()


@pytest.mark.parametrize("criterion", ["magnitude", "group_magnitude"])
def test_units_can_be_reordered(criterion: str) -> None:
    supernet = build_supernet(Text().eval(), IDS)
    before = supernet(IDS)
    found = reorder_units(
        supernet, measure_unit_importance(supernet, criterion=criterion).by_group()
    )
    assert not found.left
    assert any(order is not None and list(order) != sorted(order) for order in found.orders)
    torch.testing.assert_close(supernet(IDS), before)


class Language(Text):
    """Its head has the words' rows for weights; a module that is never run has them too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 50, bias=False)
        self.unused = nn.Embedding(50, 16)
        self.head.weight = self.unused.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(ids)
        return self.head(x + self.down(self.up(self.norm(x)).relu()))


def test_a_tied_head_shares_the_width_and_the_weights() -> None:
    supernet = build_supernet(Language().eval(), IDS).eval()
    assert [group.name for group in supernet.groups] == ["words", "up"]
    footprint = build_footprint(supernet)
    rng = np.random.default_rng(0)
    for widths in (supernet.space.smallest, *(supernet.space.sample(rng) for _ in range(3))):
        subnet = extract_subnet(supernet, widths).eval()
        assert subnet.head.weight is subnet.words.weight is subnet.unused.weight
        assert footprint.measure(widths)["params"] == sum(p.numel() for p in subnet.parameters())
        run_both(supernet, subnet, widths)
        whole = supernet.net.words.weight.grad
        torch.testing.assert_close(whole[:, : widths["words"]], subnet.words.weight.grad)
    before = supernet(IDS)
    scores = measure_unit_importance(supernet, criterion="group_magnitude").by_group()
    assert not reorder_units(supernet, scores).left
    torch.testing.assert_close(supernet(IDS), before)


def test_a_tied_weight_is_not_repaired() -> None:
    supernet = build_supernet(Language().eval(), IDS).eval()
    kept = supernet.net.words.weight.detach().clone()
    evaluator = RepairingEvaluator(supernet, IDS)
    with evaluator.calibrated(supernet.space.smallest):
        assert torch.equal(supernet.net.words.weight, kept)
    assert "another layer's" in evaluator.repair.left["head"]


@pytest.mark.parametrize("option", [{"max_norm": 1.0}, {"sparse": True}])
def test_rows_that_change_or_learn_as_a_whole_stay(option: dict[str, object]) -> None:
    supernet = build_supernet(Text(**option).eval(), IDS)
    assert [group.name for group in supernet.groups] == ["up"]
    (name,) = option
    assert any(name in r for item in supernet.grouping.frozen for r in item.reasons)


def test_a_lookup_in_a_table_of_the_models_own_costs_no_macs() -> None:
    class Own(Text):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(50, 16))

        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) + self.head(F.embedding(ids, self.table).amax(1))

    assert not build_supernet(Own().eval(), IDS).grouping.uncounted


def test_an_embedding_called_twice_has_one_width() -> None:
    class Twice(Text):
        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) + self.head(self.words(ids).amax(1))

    supernet = build_supernet(Twice().eval(), IDS).eval()
    widths = supernet.space.smallest
    with supernet.active(widths):
        torch.testing.assert_close(supernet(IDS), extract_subnet(supernet, widths).eval()(IDS))


@pytest.mark.parametrize("unpacks", [False, True])
def test_a_shape_put_together_from_tuples_is_followed(unpacks: bool) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.heads, self.size = nn.Linear(8, 12), nn.Linear(12, 5), 3, 4

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            shape = x.size()[:-1] + (self.heads, self.size)  # noqa: RUF005  # as users write
            parts = x.view(*shape) if unpacks else x.view(shape)
            return self.two(parts.reshape((*x.shape[:-1], self.heads * self.size)))

    x = torch.randn(2, 7, 8)
    supernet = build_supernet(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Heads()).eval(), x)
    assert len(supernet.groups) == 2
    widths = supernet.space.smallest
    with supernet.active(widths):
        torch.testing.assert_close(supernet(x), extract_subnet(supernet, widths)(x))
