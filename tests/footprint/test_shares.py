from __future__ import annotations

import pytest
import torch
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.footprint import list_parts
from dpod_search.footprint import measure_shares
from dpod_search.supernet import build_supernet


def make_supernet():
    layers = (nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 5))
    return build_supernet(nn.Sequential(*layers), torch.randn(2, 10), ratios=(0.5, 1.0))


def test_shares_by_hand():
    supernet = make_supernet()
    first, second = measure_shares(supernet, build_footprint(supernet))
    macs = 10 * 8 + 8 * 4 + 4 * 5  # 132
    params = macs + 8 + 4 + 5  # 149
    assert first.in_layers.macs == pytest.approx((80 + 32) / macs)
    assert first.in_layers.params == pytest.approx((88 + 36) / params)
    assert first.saves.macs == pytest.approx((40 + 16) / macs)
    assert first.saves.params == pytest.approx((40 + 4 + 16) / params)
    assert second.in_layers.macs == pytest.approx((32 + 20) / macs)
    assert second.in_layers.params == pytest.approx((36 + 25) / params)
    assert second.saves.macs == pytest.approx((16 + 10) / macs)
    assert second.saves.params == pytest.approx((16 + 2 + 10) / params)


def test_the_parts_add_up_to_the_full_net():
    supernet = make_supernet()
    full = build_footprint(supernet).measure(supernet.space.full)
    parts = list_parts(supernet.grouping)
    assert sum(part.macs for part in parts) == full["macs"]
    assert sum(part.params for part in parts) == full["params"]
    assert [set(part.groups) for part in parts] == [{0}, {0, 1}, {1}]
