from __future__ import annotations

import sys
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.cli import main


def test_pngs_are_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    folder = RunFolder(tmp_path).write()
    arguments = ["--study", folder / "config.toml", "--out", folder, "--png"]
    monkeypatch.setattr(sys, "argv", ["dpod-search", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "PNGs need" in capsys.readouterr().err
    assert not (folder / "report.html").exists()
