from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["dpod-search", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    written = []
    for name, n_trials in (("first", 80), ("second", 40)):
        (tmp_path / name).mkdir()
        written.append(RunFolder(tmp_path / name, n_trials).write())
    return written


def test_writes_the_page_and_its_numbers(
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "compare", *folders) == 0
    assert capsys.readouterr().out == "comparison: compare.html\n"
    assert call(monkeypatch, "compare", *folders, "--out", "there/both.html", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["page"]).read_text().startswith("<!DOCTYPE html>")
    assert all(Path(file).is_file() for file in told["numbers"])
    assert len(told["numbers"]) == 5


def test_one_run_is_an_error_of_one_line_and_code_2(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compare", folders[0]) == 2
    error = capsys.readouterr().err
    assert "compare takes 2 to 6 run folders, got 1" in error
    assert len(error.splitlines()) == 1
