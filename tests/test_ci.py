"""What CI is told to do is there: the script, tox's environments, and tests that need no fork."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest


yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini", encoding="utf-8")
# What Windows lacks, and helpers of the tests that need it.
UNIX = r"forking|forkserver|os\.kill|SIGKILL|os\.fork|symlink|find_finished|postgres|chmod"


def list_commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", JOBS)
def test_every_command_is_one_of_the_project(name: str) -> None:
    for command in list_commands(JOBS[name]):
        program, *words = shlex.split(command)
        if program == "tox":
            assert words[0] == "-e"
            assert f"testenv:{words[1]}" in TOX
        elif program == ".ci/run":
            assert (ROOT / program).stat().st_mode & 0o100
        else:
            assert program in {"python", "git"}, command


def test_linux_runs_every_check_and_the_others_the_fast_tests() -> None:
    assert list_commands(JOBS["all"]) == [".ci/run"]
    assert JOBS["fast"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    assert "tox -e fast" in list_commands(JOBS["fast"])


def test_every_install_goes_through_the_constraints() -> None:
    for job in JOBS.values():
        for command in list_commands(job):
            assert "pip install" not in command or "-c constraints.txt" in command


def list_fast() -> list[Path]:
    words = TOX["testenv:fast"]["commands"].replace("\\", " ").split()
    places = [ROOT / word.strip("{}").removeprefix("posargs:") for word in words]
    places = [place for place in places if "tests" in place.parts and place.name != "tests"]
    assert all(place.exists() for place in places)
    return [
        file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))
    ]


def test_fast_tests_need_nothing_that_windows_lacks() -> None:
    files = list_fast()
    assert len(files) > 30
    assert [f for f in files if re.search(UNIX, f.read_text(encoding="utf-8"))] == []


def test_the_image_installs_through_the_constraints_and_is_nobodys_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    installs = [line for line in lines if re.search(r"pip (install|wheel)", line)]
    assert len(installs) == 2
    assert all("constraints.txt" in line and "--no-cache-dir" in line for line in installs)
    assert [line for line in lines if line.startswith("USER ")] == ["USER dpod"]
    assert all(re.search(r":\d", line) for line in lines if line.startswith("FROM "))
    for line in lines:  # what is copied is there, and not left out by .dockerignore
        for name in line.split()[1:-1] if re.match(r"COPY (?!--)", line) else []:
            assert (ROOT / name).exists()
            assert f"!{name}\n" in (ROOT / ".dockerignore").read_text(encoding="utf-8")
