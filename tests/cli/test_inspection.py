from __future__ import annotations

import dataclasses
import inspect
import json
import re
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch import nn

from dpod_search.cli.inspection import describe_supernet
from dpod_search.cli.inspection import inspect_supernet
from dpod_search.cli.inspection import show_supernet
from dpod_search.report.graph import InspectedDimension
from dpod_search.report.graph import InspectedGroup
from dpod_search.report.graph import Inspection
from dpod_search.report.graph import build_graph_page
from dpod_search.supernet import build_supernet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.odd = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.odd(x)
        x = torch.fft.fft(x).real
        return self.head(x.mean((2, 3)))


@pytest.fixture
def found():
    supernet = build_supernet(Net(), torch.randn(2, 3, 4, 4), ratios=(0.25, 1.0))
    return inspect_supernet(supernet, "net")


def test_a_small_net_as_json_by_hand(found):
    described = json.loads(json.dumps(describe_supernet(found)))
    macs = 16 * (27 * 8 + 8 * 4) + 4 * 5  # 3988
    params = (27 * 8 + 8) + 16 + (8 * 4 + 4) + 25  # 301
    [group] = described["groups"]
    lines, start = inspect.getsourcelines(Net.forward)
    at = {
        word: start + i for i, line in enumerate(lines) for word in ("stem", "odd") if word in line
    }
    shares = {name: group.pop(name) for name in ("in_layers", "saves")}
    assert group == {
        "name": "stem",
        "kind": "channels",
        "full": 8,
        "rungs": [2, 8],
        "members": ["stem", "norm", "odd"],
        "line": f"{__file__}:{at['stem']}",
        "out_of_order": [],
    }
    assert shares["in_layers"]["macs"] == pytest.approx(16 * (216 + 32) / macs)
    assert shares["in_layers"]["params"] == pytest.approx((224 + 16 + 36) / params)
    assert shares["saves"]["macs"] == pytest.approx(16 * 0.75 * (216 + 32) / macs)
    assert shares["saves"]["params"] == pytest.approx(0.75 * (224 + 16 + 32) / params)
    assert (described["full"]["macs"], described["full"]["params"]) == (macs, params)
    assert described["n_subnets"] == "2"
    odd, head = described["frozen"]
    assert (odd["name"], odd["full"], odd["line"]) == ("odd", 4, f"{__file__}:{at['odd']}")
    assert any(f"{__file__}:{at['odd'] + 1}" in reason for reason in odd["reasons"])
    assert head["name"] == "head"


def test_operations_carry_shapes_groups_and_costs(found):
    by_what = {operation.what: operation for operation in found.operations}
    stem, norm, head = (by_what[name] for name in ("stem", "norm", "head"))
    assert (stem.shape, stem.groups, stem.is_maker) == ((8, 4, 4), (0,), True)
    assert (stem.macs, stem.params) == (16 * 216, 224)
    assert (norm.groups, norm.is_maker, norm.macs, norm.params) == ((0,), False, 0, 16)
    assert (head.shape, head.groups, head.macs) == ((5,), (), 20)
    assert sum(operation.macs for operation in found.operations) == found.full["macs"]
    page = build_graph_page(found)
    assert page.count('class="box frozen') >= 2
    assert "freezes odd" in page


def test_a_layer_that_is_called_twice_is_counted_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.inner(self.inner(x).relu()).relu())

    net = nn.Sequential(nn.Linear(3, 6), Twice())
    found = inspect_supernet(build_supernet(net, torch.randn(2, 3)), "twice")
    assert sum(operation.macs for operation in found.operations) == found.full["macs"]
    assert sum(operation.params for operation in found.operations) == found.full["params"]


def render(value, width=100):
    text = StringIO()
    show_supernet(Console(file=text, width=width), value)
    return text.getvalue()


def make_inspection(n_groups=1):
    sizes = {"macs": 2000, "params": 30}
    return Inspection(
        title="net",
        groups=tuple(
            InspectedGroup(
                name=f"features.stage{i}.conv",
                kind="heads",
                full=8,
                rungs=(2, 4, 8),
                members=(
                    f"features.stage{i}.conv",
                    *(f"stage{i}.member{j}" for j in range(i + 2)),
                ),
                line="net.py:1",
                in_layers={"macs": 0.251, "params": 0.5},
                saves={"macs": 0.125, "params": 0.0004},
            )
            for i in range(n_groups)
        ),
        frozen=(InspectedDimension("head", 10, ("the output", "another"), ("head",), "net.py:9"),),
        operations=(),
        uncounted=("einsum at net.py:3",),
        full=sizes,
        smallest=sizes,
        n_subnets=12345,
    )


def test_what_is_frozen_or_not_counted_is_said():
    text = render(make_inspection())
    assert re.search(r"features.stage0.conv +heads +2 +8 +25.1 +50.0 +12.5 +0.04\n", text)
    for part in (
        "  stage0.member0, stage0.member1\n",
        "head  10\n  the output\n  another\n  made at net.py:9\n",
        "macs not counted: einsum",
        "full net: macs 2,000 (without those not counted), params 30",
        "subnets: 12,345",
    ):  # fmt: skip  (a table)
        assert part in text


def test_a_group_whose_weights_are_not_shared_in_order_says_so():
    found = make_inspection()
    assert "in order" not in render(found)
    [group] = found.groups
    group = dataclasses.replace(group, out_of_order=("chunk (net.py:4) cuts it",))
    found = dataclasses.replace(found, groups=(group,))
    told = "stage0.member1\n  weights not shared in order: chunk (net.py:4) cuts it\n"
    assert told in render(found)
    assert describe_supernet(found)["groups"][0]["out_of_order"] == ("chunk (net.py:4) cuts it",)


def test_a_frozen_module_of_unknown_width_has_none():
    found = make_inspection()
    item = dataclasses.replace(found.frozen[0], full=None)
    found = dataclasses.replace(found, frozen=(item,), uncounted=())
    text = render(found)
    assert "\nhead\n  the output\n" in text
    assert "full net: macs 2,000, params 30" in text
    assert describe_supernet(found)["frozen"][0]["full"] is None


@pytest.mark.parametrize("width", [40, 80, 120])
def test_fifty_groups_stay_readable(width):
    text = render(make_inspection(50), width)
    assert "stage49.member0, stage49.member1, stage49.member2 + 48" in " ".join(text.split())
    assert all(f"features.stage{i}.conv" in text for i in range(50))
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width
        assert len(text.splitlines()) < 130
