"""The recurrent net: its size, and that it reads rows in their order."""

from __future__ import annotations

import pytest
import torch

from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.models.gru import build_gru
from dpod_search.supernet import build_supernet


def test_its_macs_and_parameters_are_those_of_its_gates() -> None:
    net = build_gru(input_shape=(3, 5, 4), n_classes=7, hidden=6, n_layers=2)
    supernet = build_supernet(net, torch.randn(2, 3, 5, 4))
    found = build_footprint(supernet).measure(supernet.space.full)
    weights = 3 * 6 * (12 + 6) + 3 * 6 * (6 + 6)
    assert found["macs"] == 5 * weights + 6 * 7
    assert found["params"] == weights + 2 * 2 * 3 * 6 + 6 * 7 + 7
    assert [group.full_width for group in supernet.groups] == [6, 6]


def test_the_answer_depends_on_the_order_of_the_rows_and_not_of_the_pictures() -> None:
    torch.manual_seed(0)
    net = build_gru(input_shape=(1, 8, 8), n_classes=10).eval()
    pictures = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        answers = net(pictures)
        assert torch.allclose(net(pictures.flip(0)), answers.flip(0), atol=1e-6)
        assert not torch.allclose(net(pictures.flip(2)), answers, atol=1e-3)


@pytest.mark.parametrize("arguments", [{"hidden": 0}, {"n_layers": 0}, {"hidden": 10_001}])
def test_numbers_out_of_range_are_named(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"model\.arguments\.{next(iter(arguments))} must"):
        build_gru(input_shape=(1, 8, 8), n_classes=10, **arguments)
