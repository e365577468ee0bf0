"""Linear layers for rows of numbers."""

from __future__ import annotations

import pytest
import torch

from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.models.mlp import build_mlp
from dpod_search.supernet import build_supernet


def test_its_sizes_are_those_of_its_layers() -> None:
    supernet = build_supernet(
        build_mlp(input_shape=(5,), n_classes=2, hidden=12, n_layers=3), torch.randn(2, 5)
    )
    found = build_footprint(supernet).measure(supernet.space.full)

    assert found["macs"] == 5 * 12 + 2 * 12 * 12 + 12 * 2
    assert found["params"] == found["macs"] + 3 * 12 + 2
    assert [group.full_width for group in supernet.groups] == [12, 12, 12]
    assert supernet(torch.randn(4, 5)).shape == (4, 2)


@pytest.mark.parametrize("arguments", [{"hidden": 0}, {"n_layers": 0}, {"n_layers": 101}])
def test_numbers_out_of_range_are_named(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"model\.arguments\.{next(iter(arguments))} must"):
        build_mlp(input_shape=(5,), n_classes=2, **arguments)
