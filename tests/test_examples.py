"""The scripts of examples/ run, each as its docstring says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline.tiny import find_finished


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
# What makes them short, and what each must say.
OF = {
    "custom_objective": (("--epochs", "1", "--trials", "16"), "narrowest"),
    "own_data": ((), "classes 3"),
    "own_loop": (("--epochs", "1"), "macs  accuracy"),
    "read_run": (("RUN",), "12 trials, with the columns number"),
    "use_exported": (("RUN",), ": python, torch_export differ by"),
}


@pytest.mark.e2e
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_the_example_runs(
    script: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words, wanted = OF[script.stem]
    if "RUN" in words:
        words = (str(find_finished(tmp_path_factory)),)
    done = subprocess.run(
        [sys.executable, str(script), *words],
        # own_data is found from the folder that the script is started in
        cwd=EXAMPLES if script.stem == "own_data" else tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert wanted in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_the_docstring_says_the_command_and_the_list_says_the_script(script: Path) -> None:
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    assert f"``python examples/{script.name}" in docstring.splitlines()[0]
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"]({script.name})" in listed
