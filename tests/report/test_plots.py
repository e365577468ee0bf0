from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.report import FIGURES


PLOTS = Path(__file__).parents[2] / "plots"


def draw(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PLOTS / "draw.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_figure_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", (PLOTS / "README.md").read_text(), re.MULTILINE)
    assert {kind.name for kind in FIGURES} == set(explained)


@pytest.mark.e2e
def test_the_script_writes_the_figure_and_its_numbers(run: RunFolder, tmp_path: Path) -> None:
    done = draw("front", str(run.write()), "--out", str(tmp_path / "out"))
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
    done = draw("training", str(folder))
    assert done.returncode == 2
    assert "The train stage has not run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
