"""Ranges are checked with a message that holds the setting, the limit and the value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_range


@given(st.floats(-9, 9), st.none() | st.floats(-9, 9), st.none() | st.floats(-9, 9))
def test_raises_exactly_outside_the_range(
    value: float, low: float | None, high: float | None
) -> None:
    inside = (low is None or value >= low) and (high is None or value <= high)
    if inside:
        check_range("setting", value, low=low, high=high)
    else:
        with pytest.raises(ConfigError):
            check_range("setting", value, low=low, high=high)


@pytest.mark.parametrize(
    ("value", "low", "high", "message"),
    [
        (0, 1, None, "training.epochs must be >= 1, got 0"),
        (2.5, None, 1, "training.epochs must be <= 1, got 2.5"),
        (-1, 0, 1, "training.epochs must be >= 0 and <= 1, got -1"),
        (float("nan"), 0, 1, "training.epochs must be >= 0 and <= 1, got nan"),
    ],
)
def test_the_message_says_what_is_allowed(
    value: float, low: float | None, high: float | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_range("training.epochs", value, low=low, high=high)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0, 2.0, "2", None])
def test_a_count_is_a_whole_number(value: object) -> None:
    check_count("n_subnets", 1, low=1)
    with pytest.raises(ConfigError, match=f"n_subnets must be a whole number >= 1, got {value!r}"):
        check_count("n_subnets", value, low=1)


@pytest.mark.parametrize("value", ["2", None, True, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match="x must be a number, got"):
        check_range("x", value, low=0)
    with pytest.raises(ConfigError, match="x must be a whole number >= 0, got"):
        check_count("x", value, low=0)
