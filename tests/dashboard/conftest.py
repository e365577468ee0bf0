"""Fixtures of the dashboard's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return copy_run(find_finished(tmp_path_factory), tmp_path / "digits")
