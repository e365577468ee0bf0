"""What people get wrong at the keyboard: one line, exit code 2, and what to do next in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dpod_search.config import load_study
from dpod_search.config import write


STUDY = ("--study", "digits")


def _set(text):
    return ("run", *STUDY, "--set", text)


def _write_files():
    """Write what the mistakes are about into the current folder."""
    Path("folder").mkdir()
    Path("notes.txt").write_text("notes")
    Path("broken.toml").write_text("[model\nname = 3\n")
    Path("section.toml").write_text("[serch]\nn_trials = 3\n")
    Path("task.toml").write_text('[task]\nname = "segmentaton"\n')
    for name in ("one", "two"):
        folder = Path("many") / name
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(write.dump_toml(load_study("digits")))


# Words of the command, and of the next step that it is told.
MISTAKES = {
    "command": (["rnu"], "did you mean 'run'?"),
    "command that is none": (["xyzzy"], "`dpod-search -h` lists them"),
    "command of latency": (["latency", "measur"], "did you mean 'measure'?"),
    "option": (["run", "--studdy", "digits"], "did you mean --study?"),
    "option that is none": (["run", "--xyzzy"], "`dpod-search run -h` lists those there are"),
    "option without its value": (["run", "--study"], "`dpod-search -h`"),
    "study as a word": (["run", "digits"], "did you mean --study digits?"),
    "no study": (["run"], "give --study"),
    "study": (["run", "--study", "digts"], "did you mean 'digits'?"),
    "study file": (["run", "--study", "my.toml"], "give a .toml file"),
    "folder as a study": (["run", "--study", "folder"], "give a .toml file"),
    "file that is no study": (["run", "--study", "notes.txt"], "give a .toml file"),
    "broken study": (["run", "--study", "broken.toml"], "at line 1"),
    "section of a file": (["run", "--study", "section.toml"], "did you mean 'search'?"),
    "task of a file": (["run", "--study", "task.toml"], "did you mean 'segmentation'?"),
    "setting": (_set("search.n_trial=5"), "did you mean 'search.n_trials'?"),
    "section": (_set("serch.n_trials=5"), "did you mean 'search'?"),
    "setting without section": (_set("n_trials=5"), "did you mean 'search.n_trials'?"),
    "set without equals": (_set("search.n_trials"), "for instance search.n_trials=500"),
    "set with blanks": ([*_set("search.n_trials"), "=", "5"], "is written without them"),
    "set without --set": (
        ["run", *STUDY, "search.n_trials=5"],
        "did you mean --set search.n_trials=5?",
    ),
    "type": (_set("search.n_trials=many"), "must be a whole number"),
    "float for a count": (_set("search.n_trials=1e3"), "must be a whole number"),
    "out of range": (_set("training.epochs=-1"), ">= 0"),
    "lost quotes": (
        _set("search.objectives=[accuracy,macs]"),
        'write search.objectives=["accuracy", "macs"] with single quotes',
    ),
    "list of one": (_set("search.objectives=accuracy"), 'write search.objectives=["accuracy"]'),
    "sampler": (_set("search.sampler=nsga3"), "'nsga2', 'nsga2-plain'"),
    "device": (_set("device=gpu"), "cpu, cuda, cuda:<n> or mps"),
    "model": (_set("model.name=resnet21"), "did you mean 'resnet20'?"),
    "data": (_set("data.name=cifar"), "did you mean 'cifar10'?"),
    "task": (_set("task.name=clasification"), "did you mean 'classification'?"),
    "pictures": (_set("data.name=imagefolder:nowhere"), "write imagefolder:<folder>"),
    "weights": (_set("model.weights=no.safetensors"), "give the path of a"),
    "folder of weights": (_set("model.weights=folder"), "give the path of a .safetensors file"),
    "unit": (["run", *STUDY, "--budgets", "macs<=2X"], 'must read like "<= 5M"'),
    "budget": (["run", *STUDY, "--budgets", "mac<=2M"], "did you mean macs?"),
    "budget without a bound": (["run", *STUDY, "--budgets", "2M"], "must read like 'macs<=2M'"),
    "budget of mdp": (["mdp", *STUDY, "--budget", "macs<50%"], "must read like 'macs<=2M'"),
    "no budget of mdp": (["mdp", *STUDY], 'for instance --budget "macs<=50%"'),
    "constraint": (_set("search.constraints.macs=2M"), 'must read like "<= 5M"'),
    "constraint on no objective": (
        _set("search.constraints.latency_ms=<= 3"),
        "put it into search.objectives",
    ),
    "percent for a share": (_set("search.constraints.accuracy=>= 90"), "lies between 0 and 1"),
    "metric of another task": (
        _set('search.objectives=["miou", "macs"]'),
        "known: accuracy, latency_ms, macs",
    ),
    "objective": (_set('search.objectives=["accuracy", "mac"]'), "did you mean macs?"),
    "no processes": (["run", *STUDY, "--jobs", "0"], "`dpod-search run -h` says what it takes"),
    "word for a number": (["run", *STUDY, "--jobs", "two"], "a whole number is needed"),
    "report before a run": (["report", *STUDY], "dpod-search"),
    "status before a run": (["status", *STUDY], "start one with `dpod-search run --study"),
    "worker before a run": (["worker", *STUDY], "train its supernet with `dpod-search train`"),
    "folder without a run": (
        ["status", "--run", "folder"],
        "begin one with `dpod-search run --study <study> --out folder`",
    ),
    "file as a run": (["status", "--run", "notes.txt"], "give a folder such as runs/digits"),
    "folder of runs": (["status", "--run", "many"], "give one of them: --run many/one"),
    "file to run in": (["run", *STUDY, "--out", "notes.txt"], "choose another --out"),
    "one run to compare": (["compare", "many/one"], "name them one after the other"),
    "run without a search": (["compare", "many/one", "many/two"], "run `dpod-search search`"),
    "latency table": (["run", *STUDY, "--latency-table", "no.json"], "check the path"),
    "no latency table": (["latency", "show", *STUDY], "give --table with a file"),
    "request": (["latency", "measure", "no.json"], "check the path"),
    "storage": (["run", *STUDY, "--storage", "sqlite:x.db"], "write sqlite:///study.db"),
    "model or study": (["inspect"], "give one of them"),
    "shape": (["inspect", "--model", "resnet8", "--input-shape", "3x8x8"], "such as 3,224,224"),
    "port": (["dashboard", *STUDY, "--port", "http"], "a whole number is needed"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_the_next_step(call_main, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    _write_files()
    words, step = MISTAKES[name]
    code, out, err = call_main(*words)
    assert (code, out) == (2, "")
    assert err.startswith("dpod-search: ")
    assert err.count("\n") == 1
    assert step in err
    assert not Path("runs").exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line_with_the_next_step(call_main, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, out, err = call_main("run", *STUDY, "--out", locked / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "choose another --out" in err


def test_a_file_that_may_not_be_read_is_told_with_what_to_do(call_main, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x.bin")

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", refuse)
    code, _, err = call_main("run", *STUDY, "--out", tmp_path)
    assert code == 2
    assert err == (
        "dpod-search: x.bin: Permission denied; see to its rights, or name another place\n"
    )


def test_settings_that_a_run_was_not_begun_with_are_told_with_both_ways(call_main, run):
    code, out, err = call_main("run", "--run", run, "--set", "seed=3")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "(seed: 0 -> 3)" in err
    assert f"to go on as it was: `dpod-search run --run {run}`" in err
    assert f"to begin anew: the same command with `--out {run}-2`" in err
    assert "delete" not in err
    run.with_name("run-2").mkdir()
    code, out, err = call_main("search", "--run", run, "--set", "search.sampler=tpe")
    assert (code, out) == (2, "")
    assert "it was nsga2, now tpe" in err
    assert f"to go on as it was: `dpod-search run --run {run}`" in err
    assert f"to begin anew: the same command with `--out {run}-3`" in err
