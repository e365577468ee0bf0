"""Fixtures of the records' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder, ready to be changed and written."""
    folder = tmp_path / "digits"
    folder.mkdir()
    return RunFolder(folder)
