"""Which study and folder a command is about, and what the help costs and completes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dpod_search.cli.places import complete_study
from dpod_search.files import hash_file
from dpod_search.shipped import list_studies


@pytest.mark.parametrize("name", ["--run", "-r", "--out"])
def test_the_run_folder_is_enough_to_go_on(call_main, run, monkeypatch, name):
    monkeypatch.chdir(run.parent)
    before = {file: hash_file(file) for file in run.rglob("*.json")}
    code, out, err = call_main("run", name, "run", "--json")
    assert (code, err) == (0, "")
    assert not any(stage["was_done"] is False for stage in json.loads(out)["stages"])
    # Only what the machine is may be written again.
    assert {file: hash_file(file) for file in before} == before
    code, out, _ = call_main("status", name, "run", "--json")
    assert code == 0
    assert json.loads(out)["folder"] == "run"
    assert call_main("dashboard", name, "run", "--no-serve")[0] == 0


def test_settings_are_changed_on_top_of_those_of_the_folder(call_main, run):
    code, out, _ = call_main("search", "-r", run, "--set", "search.n_trials=14", "--json")
    assert code == 0
    assert json.loads(out)["stages"][0]["was_done"] is False
    assert "n_trials = 14" in (run / "config.toml").read_text()
    assert "population_size = 6" in (run / "config.toml").read_text()


def test_out_says_where_the_study_of_another_run_goes(call_main, run, tmp_path):
    other = tmp_path / "other"
    words = ("--run", run, "--out", other, "--set", "training.epochs=1", "--json")
    code, out, _ = call_main("train", *words)
    assert code == 0
    assert json.loads(out)["folder"] == str(other)
    assert "width = 4" in (other / "config.toml").read_text()


def test_a_study_that_was_changed_by_hand_is_not_taken(call_main, run):
    with (run / "config.toml").open("a") as file:
        file.write("\n")
    code, out, err = call_main("run", "--run", run)
    assert (code, out) == (2, "")
    assert "config.toml is damaged or was changed" in err


def test_inspect_and_latency_take_the_study_of_a_run(call_main, run, tmp_path):
    code, out, _ = call_main("inspect", "--run", run, "--json")
    assert code == 0
    assert json.loads(out)["groups"][0]["full"] == 4
    request = tmp_path / "request.json"
    assert call_main("latency", "request", "--run", run, "--out", request)[0] == 0
    assert request.is_file()


def test_names_of_studies_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits_of_mine.toml").touch()
    Path("studies").mkdir()
    Path("studies/own.toml").touch()
    Path("notes.txt").touch()
    shipped = [name for name, _, _ in list_studies() if name.startswith("digits")]
    assert complete_study("digits") == [*shipped, "digits_of_mine.toml"]
    assert complete_study("stud") == ["studies/"]
    assert complete_study("studies/o") == ["studies/own.toml"]
    assert complete_study("note") == []


def test_a_shell_is_told_the_studies(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", "from dpod_search.cli import main; main()"],
        env={
            "PATH": "",
            "PYTHONPATH": ":".join(path for path in sys.path if path),
            "_DPOD_SEARCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "dpod-search run --study dig",
            "COMP_CWORD": "3",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "digits" in told.stdout.split()


def test_the_help_imports_neither_pytorch_nor_optuna():
    code = (
        "import sys\n"
        "from dpod_search.cli import main\n"
        "for words in (['-h'], ['run', '-h'], ['latency', 'show', '--help'], ['doctor', '-h']):\n"
        "    sys.argv = ['dpod-search', *words]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code\n"
        "slow = {'torch', 'optuna', 'numpy', 'scipy', 'sklearn', 'sqlalchemy'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.count("Example: dpod-search ") == 4
