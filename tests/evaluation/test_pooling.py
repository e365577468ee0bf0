"""Statistics are those of all the values, however they are cut and laid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpod_search.errors import CalibrationError
from dpod_search.evaluation.calibration import calibrated
from dpod_search.evaluation.pooling import NormCall
from dpod_search.evaluation.pooling import pool_calls
from dpod_search.evaluation.watching import find_normed_layers


@pytest.mark.parametrize("n_channels", [1, 3, 13, 64, 300])
@pytest.mark.parametrize("is_channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_exact_whatever_the_shape(
    n_channels: int, is_channels_last: bool, dtype: torch.dtype
) -> None:
    net = nn.Sequential(nn.Conv2d(2, n_channels, 1), nn.BatchNorm2d(n_channels)).to(dtype)
    if is_channels_last:
        net = net.to(memory_format=torch.channels_last)
    images = 3 * torch.randn(6, 2, 5, 4, dtype=dtype) + 20
    pairs = find_normed_layers(net, images[:2])
    made = net[0](images).detach()

    assert len(pairs) == 1
    with calibrated(net, images, normed_layers=pairs):
        torch.testing.assert_close(net[1].running_mean, made.mean([0, 2, 3]))
        torch.testing.assert_close(net[1].running_var, made.var([0, 2, 3], correction=0))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_parts_pool_to_the_whole(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64) + 100
    parts = [NormCall(len(v), v.mean(0), v.var(0, correction=0)) for v in values.split(sizes)]
    mean, variance = pool_calls(nn.BatchNorm1d(4), parts)

    torch.testing.assert_close(mean, values.mean(0))
    torch.testing.assert_close(variance, values.var(0, correction=0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_an_error(bad: float) -> None:
    ones, spoilt = torch.ones(3), torch.tensor([1.0, bad, 1.0])
    pairs = [(ones, spoilt), (spoilt, ones), (spoilt, -spoilt)]
    for part in (NormCall(2, *pair) for pair in pairs):
        with pytest.raises(CalibrationError, match="not finite"):
            pool_calls(nn.BatchNorm1d(3), [part])
