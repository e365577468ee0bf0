"""Groups inside removable blocks: without the block their widths change nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Net
from strategies import graphs
from strategies import scramble_norms
from supernet import attentions as a
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.errors import GroupingError
from dpod_search.footprint import build_footprint
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import removal
from dpod_search.supernet.plans import BlockPlan
from dpod_search.widths import Widths


X = torch.linspace(-2, 2, 2 * 3 * 32 * 32).sin().reshape(2, 3, 32, 32)
SMALL = X[:, :, :6, :6]


class Inverted(nn.Module):
    """The inverted residual of a MobileNet: expand, filter by channel, project."""

    def __init__(self, width: int, n_hidden: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, n_hidden, 1, bias=False)
        self.depth = nn.Conv2d(n_hidden, n_hidden, 3, padding=1, groups=n_hidden)
        self.norm = nn.BatchNorm2d(n_hidden)
        self.down = nn.Conv2d(n_hidden, 4, 1)
        self.up = nn.Conv2d(4, n_hidden, 1)
        self.project = nn.Conv2d(n_hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.norm(self.depth(self.expand(x))))
        y = y * self.up(self.down(y.mean((2, 3), keepdim=True))).sigmoid()
        return x + self.project(y)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Inverted(6, 8), Inverted(6, 4))
        self.after = nn.Conv2d(6, 5, 1)
        self.last = nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.after(self.inner(x)))


class Chain(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=4)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def build_named(name: str) -> nn.Module:
    return build_model(ModelSettings(name), input_shape=(3, 32, 32), n_classes=4, seed=0)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet8": lambda: build_named("resnet8"),
    "resnet18": lambda: build_named("torchvision:resnet18"),
    "mobilenet": lambda: build_named("torchvision:mobilenet_v2"),
    "inverted": lambda: Chain(Inverted(6, 8), Inverted(6, 4)),
    "nested": lambda: Chain(Nested(), Inverted(6, 4), Nested()),
    "vit": a.make_vit,
    "vit-with-scales": lambda: a.make_vit(a.Lucidrains, has_scale=True),
    "encoder": lambda: a.make_vit(lambda: a.Torch(batch_first=True)),
}


def pictures_of(name: str) -> Tensor:
    is_small = name.startswith(("vit", "encoder"))
    return SMALL if is_small else X


def make(name: str) -> Supernet:
    torch.manual_seed(0)
    return build_supernet(scramble_norms(MODELS[name]()).eval(), pictures_of(name))


def assert_hidden(supernet: Supernet, widths: Widths, x: Tensor) -> None:
    """What is inside removed blocks changes no number, wherever it is looked for."""
    space, footprint = supernet.space, build_footprint(supernet)
    canonical = space.canonical(widths)
    assert footprint.measure(widths) == footprint.measure(canonical)
    with torch.no_grad():
        results = []
        for chosen in (widths, canonical):
            with supernet.active(chosen):
                results.append(supernet(x))
        assert torch.equal(*results)
    plain, other = (extract_subnet(supernet, chosen) for chosen in (widths, canonical))
    tensors, others = plain.state_dict(), other.state_dict()
    assert list(tensors) == list(others)
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    assert str(plain) == str(other)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_inside_a_removed_block_changes_nothing(name: str) -> None:
    supernet = make(name)
    space = supernet.space
    assert space.inside
    rng = np.random.default_rng(0)
    n_hidden = 0
    for i in range(6):
        widths = space.sample(rng).replace(space.inside[i % len(space.inside)][0], 0)
        n_hidden += space.canonical(widths) != widths
        assert_hidden(supernet, widths, pictures_of(name))
    assert n_hidden >= 3


@pytest.mark.parametrize("name", MODELS)
def test_all_other_groups_matter_without_the_block(name: str) -> None:
    supernet = make(name)
    space, footprint = supernet.space, build_footprint(supernet)
    inside = dict(space.inside)
    for block in (group.name for group in supernet.groups if group.kind == "block"):
        without = space.full.replace(block, 0)
        params = footprint.measure(without)["params"]
        for group, rungs in zip(space.names, space.rungs, strict=True):
            if len(rungs) > 1 and group != block:
                changed = footprint.measure(without.replace(group, rungs[0]))["params"]
                assert (changed == params) == (group in inside.get(block, ())), (block, group)


def test_what_is_shared_with_the_outside_is_not_inside() -> None:
    assert dict(make("inverted").space.inside) == {
        "blocks.0": ("blocks.0.expand", "blocks.0.down"),
        "blocks.1": ("blocks.1.expand", "blocks.1.down"),
    }
    nested = dict(make("nested").space.inside)
    assert set(nested["blocks.0"]) == {
        "blocks.0.after",
        "blocks.0.inner.0",
        "blocks.0.inner.1",
        *(f"blocks.0.inner.{i}.{name}" for i in (0, 1) for name in ("expand", "down")),
    }
    assert nested["blocks.0.inner.1"] == ("blocks.0.inner.1.expand", "blocks.0.inner.1.down")


def test_without_blocks_nothing_is_inside() -> None:
    torch.manual_seed(0)
    model = Chain(Inverted(6, 8)).eval()
    assert build_supernet(model, X, removes_blocks=False).space.inside == ()


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 99))
def test_nothing_changes_in_graphs_of_any_kind(net: Net, seed: int) -> None:
    try:
        supernet = build_supernet(net.model, net.example)
    except GroupingError:
        return  # nothing can be narrowed
    rng = np.random.default_rng(seed)
    for _ in range(4):
        assert_hidden(supernet, supernet.space.sample(rng), net.example)


class Listed(nn.Module):
    """Runs through a list, and does something more at some of its places."""

    def __init__(self, is_marked: Callable[[int, int], bool], *blocks: nn.Module) -> None:
        super().__init__()
        self.is_marked = is_marked
        self.stem = nn.Conv2d(3, 6, 3)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if self.is_marked(i, len(self.blocks)):
                x = x * 2
        return self.head(x.mean((2, 3)))


PLACES: dict[str, Callable[[int, int], bool]] = {
    "nowhere": lambda i, n: False,
    "everywhere": lambda i, n: True,
    "third": lambda i, n: i == 2,
    "half": lambda i, n: i == n // 2,
    "third from the end": lambda i, n: n - i == 3,
    "odd": lambda i, n: i % 2 == 1,
    "last": lambda i, n: i == n - 1,
    "if there are five": lambda i, n: n == 5,
    "quarters": lambda i, n: 4 * i // n > 2,
}


def list_removals(monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> tuple[list[list[str]], bool]:
    """Return which blocks were taken out together to try it, and whether they leave their list."""
    tried: list[list[str]] = []
    compare = removal._Removals._is_same_without

    def note(removals: removal._Removals, blocks: Sequence[BlockPlan]) -> bool:
        tried.append([block.path for block in blocks])
        return compare(removals, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(removal._Removals, "_is_same_without", note)
        supernet = build_supernet(net.eval(), SMALL, ratios=[0.5])
    (leaves,) = {block.leaves_list for block in supernet.grouping.blocks}
    return tried, leaves


@pytest.mark.parametrize("name", PLACES)
def test_the_first_and_the_last_block_tell_what_each_alone_would(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    net = Listed(PLACES[name], *(Inverted(6, 4) for _ in range(5)))

    tried, leaves = list_removals(monkeypatch, net)

    assert len(tried) <= 3
    monkeypatch.setattr(removal, "_choose_alone", lambda _traced, _owner, blocks: blocks)
    assert list_removals(monkeypatch, net)[1] is leaves
    assert leaves is (name == "nowhere")


def test_blocks_that_share_weights_are_tried_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in the place of another could not be told from it."""
    blocks = [Inverted(6, 4) for _ in range(4)]
    blocks[2].expand.weight = blocks[1].expand.weight
    paths = [f"blocks.{i}" for i in range(4)]

    tried, _ = list_removals(monkeypatch, Listed(PLACES["nowhere"], *blocks))

    assert tried == [paths, *([path] for path in paths)]


class Lists(nn.Module):
    """Runs through several lists: one after the other, or the first two side by side."""

    def __init__(self, n_lists: int, *, is_paired: bool = False, depth: int = 3) -> None:
        super().__init__()
        self.is_paired = is_paired
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)
        self.lists = nn.ModuleList(
            nn.ModuleList(Inverted(6, 4) for _ in range(depth)) for _ in range(n_lists)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.is_paired:
            for one, two in zip(self.lists[0], self.lists[1], strict=False):
                x = two(one(x))
        for blocks in self.lists[2 if self.is_paired else 0 :]:
            for block in blocks:
                x = block(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(("n_lists", "n_runs"), [(1, 3), (2, 3), (3, 3), (4, 6)])
def test_lists_are_tried_together(
    monkeypatch: pytest.MonkeyPatch, n_lists: int, n_runs: int
) -> None:
    tried, leaves = list_removals(monkeypatch, Lists(n_lists))

    assert leaves
    assert len(tried) == n_runs
    one = [f"lists.0.{i}" for i in range(3)]
    of_first = [[path for path in paths if path in one] for paths in tried]
    assert all(trial in of_first for trial in (one, one[:1], one[2:]))


@pytest.mark.parametrize("n_lists", [2, 4])
def test_lists_that_go_in_pairs_keep_their_places(n_lists: int) -> None:
    """Both would fit if both lost the same part; a list beside them leaves its own all the same."""
    supernet = build_supernet(Lists(n_lists, is_paired=True).eval(), SMALL, ratios=[0.5])

    leaving = {block.path for block in supernet.grouping.blocks if block.leaves_list}
    assert leaving == {f"lists.{k}.{i}" for k in range(2, n_lists) for i in range(3)}


def test_lists_of_one_block_that_go_in_pairs_keep_their_places() -> None:
    """All that either can lose is its only block, and both lose it alike."""
    supernet = build_supernet(Lists(2, is_paired=True, depth=1).eval(), SMALL, ratios=[0.5])

    assert [block.path for block in supernet.grouping.blocks] == ["lists.0.0", "lists.1.0"]
    assert not any(block.leaves_list for block in supernet.grouping.blocks)
    for block in supernet.grouping.blocks:
        widths = supernet.space.full.replace(supernet.space.names[block.group], 0)
        with supernet.active(widths), torch.no_grad():
            wanted = supernet(SMALL)
        torch.testing.assert_close(extract_subnet(supernet, widths).eval()(SMALL), wanted)


class Outer(nn.Module):
    """A block with a list inside, which tells by their number where its parts stand."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList(Inverted(6, 4) for _ in range(3))
        self.last = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, block in enumerate(self.inner):
            y = block(y) * (1 + i)
        return x + self.last(y)


def test_a_list_inside_a_block_is_tried_while_the_block_is_there() -> None:
    net = Listed(PLACES["nowhere"], *(Outer() for _ in range(3)))

    supernet = build_supernet(net.eval(), SMALL, ratios=[0.5])

    leaving = {block.path for block in supernet.grouping.blocks if block.leaves_list}
    assert leaving == {f"blocks.{i}" for i in range(3)}
    assert len(supernet.grouping.blocks) == 12
