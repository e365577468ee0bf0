"""Fixtures of the command line's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished

from dpod_search.cli import main


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, shared: read it, never change it."""
    return find_finished(tmp_path_factory)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return copy_run(finished, tmp_path / "run")


@pytest.fixture
def call_main(monkeypatch, capsys):
    """Run ``main`` as the console script does; return exit code, output and error lines."""

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["dpod-search", *map(str, arguments)])
        monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # it may stay changed
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_main
