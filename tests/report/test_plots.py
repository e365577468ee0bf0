from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.report import FIGURES


PLOTS = Path(__file__).parents[2] / "plots"


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PLOTS / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_figure_has_its_script() -> None:
    helpers = {"one_figure", "gallery"}
    assert {kind.name for kind in FIGURES} == {p.stem for p in PLOTS.glob("*.py")} - helpers


@pytest.mark.e2e
def test_a_script_writes_the_figure_and_its_numbers(run: RunFolder, tmp_path: Path) -> None:
    done = run_script("front", str(run.write()), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "digits-front.html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "digits-front.html",
        "digits-front.csv",
    }


@pytest.mark.e2e
def test_a_figure_that_cannot_be_drawn_is_one_line_and_code_2(run: RunFolder) -> None:
    folder = run.write()
    (folder / "training.json").unlink()
    done = run_script("training", str(folder))
    assert done.returncode == 2
    assert "The train stage has not run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
