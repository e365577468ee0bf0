"""Closed forms equal counting the extracted net, and rise with every width."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from footprint.counting import count_footprint
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Net
from strategies import nets
from strategies import widths_of
from torch import Tensor
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.footprint import METRICS
from dpod_search.footprint import build_footprint
from dpod_search.models.resnet import build_resnet20
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


def build_if_it_can_be_narrowed(net: Net) -> Supernet | None:
    try:
        return build_supernet(net.model, net.example)
    except GroupingError:
        return None


@settings(max_examples=40)
@given(nets(), st.data())
def test_closed_form_equals_counting_the_extracted_net(net: Net, data: st.DataObject) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    widths = data.draw(widths_of(supernet.space))
    counted = count_footprint(extract_subnet(supernet, widths), net.example)

    assert build_footprint(supernet).measure(widths) == counted


@settings(max_examples=25)
@given(nets(), st.data())
def test_no_metric_falls_as_a_width_grows(net: Net, data: st.DataObject) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    widths = data.draw(widths_of(supernet.space))
    rows = [
        widths.replace(name, rung).active
        for name, rungs in zip(supernet.space.names, supernet.space.rungs, strict=True)
        for rung in rungs
    ]
    table = build_footprint(supernet).table(rows)

    removed = [block.path for block in supernet.grouping.blocks if not widths[block.path]]
    start = 0
    for group, rungs in zip(supernet.groups, supernet.space.rungs, strict=True):
        # What lies in removed blocks alone weighs nothing, whatever its width.
        is_there = any(not is_inside(member, removed) for member in group.members)
        for name in METRICS:
            steps = np.diff(table[name][start : start + len(rungs)])
            assert (steps >= 0).all()
            assert is_there or (steps == 0).all() or group.name in removed
            assert not is_there or name in {"macs", "peak_bytes"} or (steps > 0).all()
        start += len(rungs)


def is_inside(path: str, blocks: Sequence[str]) -> bool:
    return any(path.startswith(f"{block}.") for block in blocks)


@settings(max_examples=15)
@given(nets(), st.data())
def test_a_table_is_measuring_row_by_row(net: Net, data: st.DataObject) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    rows = data.draw(st.lists(widths_of(supernet.space), min_size=1, max_size=5))
    footprint = build_footprint(supernet)
    table = footprint.table(np.array([widths.active for widths in rows]))

    assert set(table) == set(METRICS) == {"macs", "params", "weight_bytes", "peak_bytes"}
    for i, widths in enumerate(rows):
        measured = footprint.measure(widths)
        assert measured == {name: column[i] for name, column in table.items()}
        assert all(type(value) is int for value in measured.values())


def test_resnet20_has_the_published_macs() -> None:
    model = build_resnet20(input_shape=(3, 32, 32), n_classes=10)
    supernet = build_supernet(model, torch.zeros(1, 3, 32, 32))

    assert build_footprint(supernet).measure(supernet.space.full)["macs"] == 40_813_184


class PublishedBlock(nn.Module):
    """A basic block of any widths; its shortcut is projected where the shape changes."""

    def __init__(self, n_in: int, n_mid: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_mid, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_mid, n_out, 3, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if (n_in, stride) != (n_out, 1):
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))


@pytest.mark.data
@pytest.mark.parametrize(("depth", "macs"), [(20, 22_444_472), (32, 34_945_344)])
def test_published_widths_have_their_published_macs(
    data_root: Path, depth: int, macs: int
) -> None:
    """Dong and Yang: Network pruning via transformable architecture search, arXiv 1905.09717."""
    path = data_root / "published_widths" / "tas_neurips2019.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    widths = json.loads(path.read_text())[f"C010-ResNet{depth}"]["xchannels"]
    starts = range(1, len(widths) - 1, 2)
    n_blocks = len(starts) // 3
    model = nn.Sequential(
        nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False),
        *(
            PublishedBlock(*widths[start : start + 3], 2 if i in (n_blocks, 2 * n_blocks) else 1)
            for i, start in enumerate(starts)
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(widths[-1], 10),
    )
    supernet = build_supernet(model, torch.zeros(1, 3, 32, 32))

    assert build_footprint(supernet).measure(supernet.space.full)["macs"] == macs


def test_tied_weights_are_stored_once_and_multiplied_twice() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(4, 2, 1),
    )  # fmt: skip  (a table)
    model[2].weight = model[1].weight
    example = torch.zeros(1, 3, 5, 5)
    supernet = build_supernet(model, example)

    footprint = build_footprint(supernet)
    for widths in (supernet.space.full, supernet.space.smallest):
        counted = count_footprint(extract_subnet(supernet, widths), example)
        assert footprint.measure(widths) == counted


def test_frames_folded_into_the_batch_are_all_counted() -> None:
    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 3)
            self.b = nn.Conv2d(8, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            n = x.size(0)
            x = self.head(self.b(self.a(x.flatten(0, 1))).mean([2, 3]))
            return x.view(n, -1, 2).mean(1)

    for n in (1, 2):
        example = torch.zeros(n, 5, 3, 8, 8)
        supernet = build_supernet(Video(), example)
        assert len(supernet.groups) == 2
        for widths in (supernet.space.full, supernet.space.smallest):
            counted = count_footprint(extract_subnet(supernet, widths), example)
            assert build_footprint(supernet).measure(widths) == counted


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_bytes_follow_the_dtype(dtype: torch.dtype) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Conv2d(8, 2, 1)
    ).to(dtype)
    example = torch.zeros(1, 3, 5, 5, dtype=dtype)
    supernet = build_supernet(model.eval(), example)

    for widths in (supernet.space.full, supernet.space.smallest):
        counted = count_footprint(extract_subnet(supernet, widths), example)
        assert build_footprint(supernet).measure(widths) == counted


def test_operations_without_a_closed_form_keep_their_parameters_in_the_count() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 6, 1),
        nn.PReLU(),
        nn.Conv2d(6, 4, 1),
        nn.Conv2d(4, 2, 1),
    )  # fmt: skip  (a table)
    example = torch.zeros(1, 3, 5, 5)
    supernet = build_supernet(model, example)

    for widths in (supernet.space.full, supernet.space.smallest):
        counted = count_footprint(extract_subnet(supernet, widths), example)
        assert build_footprint(supernet).measure(widths) == counted
