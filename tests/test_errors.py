"""Ranges are checked with a message that holds the setting, the limit and the value."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9))
def test_raises_exactly_outside_the_range(value: float, low: float, high: float) -> None:
    if low <= value <= high:
        check_range("setting", value, low=low, high=high)
    else:
        with pytest.raises(ConfigError):
            check_range("setting", value, low=low, high=high)


@pytest.mark.parametrize(
    ("value", "low", "high", "message"),
    [
        (0, 1, math.inf, "training.epochs must be >= 1, got 0"),
        (2.5, -math.inf, 1, "training.epochs must be <= 1, got 2.5"),
        (-1, 0, 1, "training.epochs must be >= 0 and <= 1, got -1"),
        (float("nan"), 0, 1, "training.epochs must be >= 0 and <= 1, got nan"),
        (math.inf, 1e-6, 1e6, "training.epochs must be >= 1e-06 and <= 1,000,000, got inf"),
        (math.nan, -math.inf, math.inf, "training.epochs must be a number, got nan"),
    ],
)
def test_the_message_says_what_is_allowed(
    value: float, low: float, high: float, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_range("training.epochs", value, low=low, high=high)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0, 2.0, "2", None, 8, 2**63, math.inf])
def test_a_count_is_a_whole_number(value: object) -> None:
    check_count("n_subnets", 1, low=1, high=7)
    message = f"n_subnets must be a whole number >= 1 and <= 7, got {value!r}"
    with pytest.raises(ConfigError, match=message):
        check_count("n_subnets", value, low=1, high=7)


@pytest.mark.parametrize("value", ["2", None, True, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match="x must be a number, got"):
        check_range("x", value, low=0, high=1)
    with pytest.raises(ConfigError, match="x must be a whole number >= 0 and <= 1, got"):
        check_count("x", value, low=0, high=1)


def test_numbers_of_other_types_are_numbers() -> None:
    check_range("x", Fraction(1, 2), low=0, high=1)
    check_range("x", np.float32(0.5), low=0, high=1)
    check_count("x", np.int64(1), low=0, high=1)


def test_a_number_too_large_to_be_a_float_or_to_be_spelled_is_refused() -> None:
    for value in (10**400, 16**5000):
        with pytest.raises(ConfigError, match="x must be >= 0 and <= 1, got"):
            check_range("x", value, low=0, high=1)
        with pytest.raises(ConfigError, match="x must be a whole number >= 0 and <= 1, got"):
            check_count("x", value, low=0, high=1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("macs", "x must be a list, got 'macs'"),
        ([], "x must have 1 to 3 entries, got 0"),
        ((1, 2, 3, 4), "x must have 1 to 3 entries, got 4"),
        (["a", "b", "a"], "x has 'a' twice; leave one of them"),
    ],
)
def test_a_list_has_so_many_entries_and_none_twice(value: object, message: str) -> None:
    check_list("x", ["a", "b"], low=1, high=3)
    with pytest.raises(ConfigError) as caught:
        check_list("x", value, low=1, high=3)
    assert str(caught.value) == message


def nest(depth: int) -> list[object]:
    """Make lists in lists."""
    outer: list[object] = []
    for _ in range(depth):
        outer = [outer]
    return outer


@pytest.mark.parametrize(
    "value",
    ["a" * 10_000, "\n\r\u2028\x00\udcff" * 99, 10**4000, 16**5000, nest(9_999)],
    ids=["long", "odd", "digits", "more digits", "deep"],
)
def test_a_value_is_shown_on_one_short_line(value: object) -> None:
    assert len(show(value)) < 120
    assert len(show(value).splitlines()) == 1
    show(value).encode()
