from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.search.plan.surrogate.scales import REACH
from dpod_search.search.plan.surrogate.scales import Scale


# Numbers with six digits, as measurements have them: nearer ones are one value.
NUMBERS = st.integers(-(10**6), 10**6).map(lambda number: number / 1000)
VALUES = st.lists(NUMBERS, min_size=2, max_size=30).map(np.array)


def make_accuracies(n=200):
    """Crowded at the upper end, with a long tail below."""
    return 0.9 - 0.1 * np.random.default_rng(0).exponential(size=n)


@given(VALUES)
def test_values_come_back_from_the_scale(values):
    scale = Scale(values)
    numbers = scale.shrink(values)
    assert np.isfinite(numbers).all()
    np.testing.assert_allclose(scale.expand(numbers), values, atol=1e-6 * np.ptp(values) + 1e-9)


@given(VALUES)
def test_more_stays_more(values):
    scale = Scale(values)
    assert np.all(np.diff(scale.shrink(np.sort(values))) >= 0)
    assert np.all(np.diff(scale.expand(np.linspace(-9, 9, 50))) >= 0)


@given(VALUES, st.floats(allow_nan=False))
def test_numbers_however_far_off_have_finite_values_near_those_seen(values, number):
    found = Scale(values).expand(np.array([number]))[0]
    reach = REACH * (np.ptp(values) or values.std() or 1.0) * (1 + 1e-6) + 1e-6
    assert values.min() - reach <= found <= values.max() + reach


def test_one_value_is_its_own_scale():
    scale = Scale(np.full(20, 0.5))
    assert scale.shrink(np.full(3, 0.5)).tolist() == [0, 0, 0]
    assert scale.expand(np.zeros(2)).tolist() == [0.5, 0.5]
    assert np.isfinite(scale.expand(np.array([-1e300, np.inf]))).all()


def test_a_long_tail_becomes_nearly_normal():
    values = make_accuracies()
    numbers = Scale(values).shrink(values)
    assert numbers.mean() == pytest.approx(0, abs=0.05)
    assert numbers.std() == pytest.approx(1, abs=0.05)

    def measure_skewness(x):
        return np.mean(((x - x.mean()) / x.std()) ** 3)

    assert measure_skewness(values) < -1
    assert abs(measure_skewness(numbers)) < 0.3
