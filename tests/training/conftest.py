"""Fixtures of the training's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from training.fakes import single_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield
