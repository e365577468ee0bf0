"""Fixtures of this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from training.fakes import single_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Nets this small run ten times slower on threads that wait for a busy machine's cores.
    with single_thread():
        yield
