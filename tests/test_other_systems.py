"""What Windows lacks is used nowhere without a way around it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import unix_hidden
from pipeline.tiny import OVERRIDES
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished

import dpod_search
from dpod_search.pipeline import RunFolder


PACKAGE = Path(dpod_search.__file__).parent
SETS = tuple(f"--set={item}" for item in OVERRIDES)
OF_OS = {*unix_hidden.OF_OS, "chown", "getgid", "openpty", "sched_getaffinity", "uname", "wait"}
OF_SIGNAL = {
    *unix_hidden.OF_SIGNAL,
    "SIGCHLD",
    "SIGUSR2",
    "pthread_sigmask",
    "setitimer",
    "sigwait",
}
# Each stands in a `try`, and the test below runs what is done without it.
GUARDED = {("pipeline/looking.py", "fcntl")}


def find_unix_only(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & set(unix_hidden.MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in unix_hidden.MODULES:
            yield node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            lacking = {"os": OF_OS, "signal": OF_SIGNAL}.get(node.value.id, set())
            if node.attr in lacking:
                yield f"{node.value.id}.{node.attr}"


def test_what_unix_alone_has_is_used_where_there_is_a_way_around() -> None:
    found = {
        (file.relative_to(PACKAGE).as_posix(), name)
        for file in PACKAGE.rglob("*.py")
        for name in find_unix_only(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == GUARDED


def test_such_uses_are_found() -> None:
    code = "import fcntl, json\nfrom resource import x\nos.fork()\nos.replace(1, 2)\nsignal.SIGHUP"
    assert set(find_unix_only(ast.parse(code))) == {
        "fcntl",
        "resource",
        "os.fork",
        "signal.SIGHUP",
    }


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, unix_hidden.__file__, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_help_needs_nothing_of_unix() -> None:
    done = call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Search the layer widths" in done.stdout


@pytest.mark.e2e
def test_a_run_needs_nothing_of_unix(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = call("run", "--study", "digits", "--out", run, "--quiet", *SETS)
    assert (done.returncode, done.stderr) == (0, "")
    assert (run / "report.html").is_file()


def test_who_looks_sees_who_works_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = copy_run(find_finished(tmp_path_factory), tmp_path / "run")
    report = ("report", "--study", "digits", "--out", run, *SETS)
    with RunFolder(run):
        busy = call(*report)
    assert busy.returncode == 2
    assert f"in use by another process (process {os.getpid()})" in busy.stderr
    assert call(*report).returncode == 0
    with RunFolder(run):  # it has given the lock back
        pass
