from __future__ import annotations

from typing import Any

import pytest

from dpod_search.pipeline.stages import stopwatch
from dpod_search.pipeline.stages.correcting import correct
from dpod_search.widths import Widths


WISHED = 0.5


def read(monkeypatch: pytest.MonkeyPatch, readings: list[float]) -> list[float]:
    """Let the clock say these; return those that are left."""
    left = list(readings)
    monkeypatch.setattr(stopwatch, "time_shares", lambda _, widths: {widths[0]: left.pop(0)})
    return left


@pytest.mark.parametrize(
    ("readings", "share"),
    [([0.49, 0.48], 0.49), ([0.48, 0.67], 0.67), ([0.51], 0.51), ([0.5, 0.5], 0.5)],
)
def test_what_is_within_a_wish_is_read_twice_and_the_slower_counts(
    readings: list[float], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = read(monkeypatch, readings)
    session: Any = None
    assert stopwatch.confirm_share(session, Widths(("a",), (8,)), WISHED) == share
    assert left == []


def test_a_reading_by_luck_is_not_the_end_of_the_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read(monkeypatch, [0.499, 0.66, 0.49, 0.495])
    session: Any = None
    found = correct(
        lambda factor: (Widths(("a",), (round(100 * factor),)), None),
        lambda widths: stopwatch.confirm_share(session, widths, WISHED),
        wished=WISHED,
        n_corrections=8,
    )
    assert (found.share, found.n_corrections) == (0.495, 1)
