"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, shared: read it, never change it."""
    return find_finished(tmp_path_factory)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return copy_run(finished, tmp_path / "run")
