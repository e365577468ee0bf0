"""The commands that only look: no file is touched, and none need be writable."""

from __future__ import annotations

import shutil
from functools import reduce

import pytest
import torch
from pipeline.tiny import OVERRIDES
from pipeline.tiny import copy_run
from traces import snapshot
from traces import unwritable_copy

from dpod_search.dashboard import decorate_study
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.pipeline import RunFolder
from dpod_search.search import open_storage
from dpod_search.search.store import open_existing


SETS = tuple(f"--set={item}" for item in OVERRIDES)
LOOKING = {
    "status": ("status", "--study", "digits", "--out", "RUN"),
    "status --json": ("status", "--study", "digits", "--out", "RUN", "--json"),
    "status --storage": (
        *("status", "--study", "digits", "--out", "RUN"),
        *("--storage", "RUN/study.journal"),
    ),
    "report": ("report", "--study", "digits", "--out", "RUN", *SETS),
    "dashboard": ("dashboard", "--study", "digits", "--out", "RUN", "--no-serve"),
    "studies": ("studies",),
    "inspect": ("inspect", "--study", "digits"),
    "compare": ("compare", "RUN", "OTHER", "--out", "PAGE"),
}


@pytest.fixture
def runs(run):
    """A folder with two finished runs, ``run`` and ``other``, which the dashboard has shown."""
    decorate_study(run, "digits")
    copy_run(run, run.parent / "other")
    return run.parent


def words_of(name, runs, page):
    places = {"RUN": runs / "run", "OTHER": runs / "other", "PAGE": page}
    return [
        reduce(lambda word, place: word.replace(place, str(places[place])), places, word)
        for word in LOOKING[name]
    ]


@pytest.mark.parametrize("name", LOOKING)
def test_looking_touches_no_file(runs, tmp_path_factory, call_main, monkeypatch, name):
    monkeypatch.chdir(runs)
    with (runs / "run" / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    before = snapshot(runs)
    page = tmp_path_factory.mktemp("elsewhere") / "page.html"
    code, _, err = call_main(*words_of(name, runs, page))
    assert (code, err) == (0, "")
    assert snapshot(runs) == before


@pytest.mark.parametrize("name", LOOKING)
def test_looking_needs_no_folder_that_can_be_written_to(runs, call_main, name):
    # The report has been written before, and stands.
    with unwritable_copy(runs) as copy:
        code, out, err = call_main(*words_of(name, copy, copy.parent / "elsewhere" / "page.html"))
    assert (code, err) == (0, "")
    assert out


def test_a_report_writes_itself_and_nothing_else(run, call_main):
    (run / "report.html").unlink()
    before = snapshot(run)
    code, _, err = call_main("report", "--study", "digits", "--out", run, *SETS)
    assert (code, err) == (0, "")
    after = snapshot(run)
    changed = {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }
    folders = {".", ".stages", "figures"}
    figures = {name for name in changed if name.startswith("figures/")}
    assert changed - folders - figures == {"report.html", ".stages/report.json"}


def test_a_report_of_nothing_makes_no_folder(tmp_path, call_main):
    code, _, err = call_main("report", "--study", "digits", "--out", tmp_path / "none")
    assert (code, len(err.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_report_waits_for_nobody_and_does_not_look_into_a_run_at_work(run, call_main):
    with RunFolder(run):
        code, _, err = call_main("report", "--study", "digits", "--out", run, *SETS)
        told = call_main("status", "--study", "digits", "--out", run)[1]
    assert code == 2
    assert "is in use by another process" in err
    assert "a process works on it" in told
    assert "a process works on it" not in call_main("status", "--study", "digits", "--out", run)[1]


@pytest.mark.parametrize(
    "storage", ["notes.txt", "sqlite:///notes.txt", "sqlite+pysqlite:///notes.txt", "."]
)
def test_a_storage_that_is_none_is_one_line_and_stays_as_it_is(
    run, tmp_path, call_main, monkeypatch, storage
):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "notes.txt").write_text("mine\nand mine")
    before = snapshot(place)
    for command in ("status", "dashboard"):
        code, _, err = call_main(command, "--study", "digits", "--out", run, "--storage", storage)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert snapshot(place) == before


def test_a_database_that_is_missing_is_not_made(run, tmp_path, call_main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = ("--storage", "sqlite:///none.db")
    before = snapshot(tmp_path)
    assert call_main("status", "--study", "digits", "--out", run, *storage)[0] == 0
    code, _, err = call_main("dashboard", "--study", "digits", "--out", run, *storage)
    assert (code, len(err.splitlines())) == (2, 1)
    assert snapshot(tmp_path) == before


def test_a_dashboard_shows_what_it_cannot_write_to(run, call_main):
    with unwritable_copy(run) as copy:
        words = ("dashboard", "--study", "digits", "--out", copy, "--no-serve")
        assert call_main(*words) == (
            0,
            "nothing can be written here: the study is shown as it is, without new notes\n",
            "",
        )


def test_what_was_opened_to_look_can_still_be_written_to(run, tmp_path):
    journal = shutil.copy(run / "study.journal", tmp_path / "study.journal")
    open_existing(journal).create_new_study([1], "another")
    assert "another" in [study.study_name for study in open_storage(journal).get_all_studies()]


def test_inspect_says_what_it_takes_of_a_file_of_weights(tmp_path, call_main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_model(ModelSettings(), input_shape=(1, 8, 8), n_classes=3, seed=0)
    torch.save({"state_dict": model.state_dict()}, "net.pth")
    asked = ("--model", "resnet8", "--input-shape", "1,8,8", "--set", "model.weights=net.pth")
    code, out, err = call_main("inspect", *asked, "--classes", 10)
    assert code == 0
    assert "channel groups" in out
    assert err == (
        "model.weights net.pth: its entry 'state_dict' is taken; head has 10 classes and in the "
        "file 3: it is drawn anew\n"
    )

    code, _, err = call_main("inspect", *asked, "--classes", 10, "--set=model.arguments.width=8")
    assert (code, err.count("\n")) == (2, 1)
    assert "conv.weight is (16, 1, 3, 3) instead of (8, 1, 3, 3)" in err


def test_inspect_says_that_weights_are_applied_to_other_channels(tmp_path, call_main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ModelSettings(name="torchvision:shufflenet_v2_x0_5")
    model = build_model(settings, input_shape=(3, 32, 32), n_classes=4, seed=0)
    torch.save(model.state_dict(), "net.pth")
    asked = ("--model", settings.name, "--input-shape", "3,32,32", "--classes", 4)
    code, out, err = call_main("inspect", *asked, "--set", "model.weights=net.pth")
    assert code == 0
    assert "weights not shared in order" in out
    (line,) = err.splitlines()
    assert line.startswith("model.weights: stage")
    assert (
        "apply their weights to other channels when they are narrower (inspect says why)" in line
    )
    assert call_main("inspect", *asked)[2] == ""
