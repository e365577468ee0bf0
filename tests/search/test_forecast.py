"""What is foretold of subnets from a few that were finetuned."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kendalltau

from dpod_search.errors import ConfigError
from dpod_search.search.forecast import MIN_OUTCOMES
from dpod_search.search.forecast import Subnets
from dpod_search.search.forecast import forecast
from dpod_search.search.forecast import forecast_each


def make_world(seed: int, n: int = 80, n_groups: int = 6):
    """Draw subnets whose accuracy after finetuning follows their size and one of their groups."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(4, 65, (n, n_groups)).astype(float)
    macs = (widths[:, :-1] * widths[:, 1:]).sum(1)
    params = (widths**2).sum(1)
    truth = 0.6 * np.log2(macs) + 0.5 * np.log2(widths[:, 2]) - 7
    # Before finetuning another group counts, and size counts for little.
    before = expit(0.2 * np.log2(macs) + 0.5 * np.log2(widths[:, 4]) - 4)
    return Subnets(before, np.column_stack([macs, params]), widths), expit(truth)


def test_few_outcomes_order_the_others_better_than_the_score_before():
    gains = []
    for seed in range(3):
        subnets, after = make_world(seed)
        tuned = np.random.default_rng(seed).choice(80, 16, replace=False)
        rest = np.setdiff1d(np.arange(80), tuned)
        found = forecast(subnets, tuned.tolist(), after[tuned].tolist())
        right = kendalltau(found.mean[rest], after[rest]).statistic
        gains.append(right - kendalltau(subnets.before[rest], after[rest]).statistic)
        assert right > 0.6
    assert min(gains) > 0.1


def test_intervals_hold_about_as_often_as_they_say():
    held = []
    for seed in range(6):
        subnets, after = make_world(seed)
        noisy = expit(np.log(after / (1 - after)) + np.random.default_rng(seed).normal(0, 0.3, 80))
        found = forecast(subnets, list(range(20)), noisy[:20].tolist())
        held += ((found.low <= noisy) & (noisy <= found.high))[20:].tolist()
        assert np.all((found.low <= found.mean) & (found.mean <= found.high))
    assert 0.65 <= np.mean(held) <= 0.95


def test_what_does_not_vary_teaches_nothing_and_breaks_nothing():
    subnets, after = make_world(0, n=8)
    alike = Subnets(np.full(8, 0.5), np.ones((8, 1)), np.full((8, 3), 4.0))
    found = forecast(alike, [0, 1, 2, 3], after[:4].tolist())
    assert np.all(np.isfinite(found.mean))
    assert np.ptp(found.mean) < 1e-6
    same = forecast(subnets, [0, 1, 2, 3], [0.9] * 4)
    np.testing.assert_allclose(same.mean, 0.9, atol=1e-6)
    ends = forecast(subnets, [0, 1, 2, 3], [0.0, 1.0, 1.0, 0.5])
    assert np.all((ends.low >= 0) & (ends.high <= 1))


def test_each_is_foretold_by_the_others_alone():
    subnets, after = make_world(1, n=9)
    found = forecast_each(subnets, after.tolist())
    other = after.copy()
    other[3] = 0.01
    assert forecast_each(subnets, other.tolist()).mean[3] == found.mean[3]
    assert forecast_each(subnets, other.tolist()).mean[4] != found.mean[4]


def test_of_many_several_are_left_out_at_once(monkeypatch):
    module = import_module("dpod_search.search.forecast")  # dpod_search.search is a function too
    monkeypatch.setattr(module, "_MAX_LEFT_OUT", 4)
    subnets, after = make_world(1, n=10)
    found = forecast_each(subnets, after.tolist())
    other = after.copy()
    other[3] = 0.01
    again = forecast_each(subnets, other.tolist())
    # The eighth is left out with the fourth.
    assert (again.mean == found.mean).tolist() == [place % 4 == 3 for place in range(10)]


def test_too_few_outcomes_are_refused():
    subnets, after = make_world(2, n=6)
    with pytest.raises(ConfigError, match=f"needs {MIN_OUTCOMES} outcomes, got 3"):
        forecast(subnets, [0, 1, 2], after[:3].tolist())
