from __future__ import annotations

import sys
from functools import partial

import pytest


@pytest.fixture
def call(call_main):
    """Run the command on digits."""
    return partial(call_main, "dashboard", "--study", "digits")


def test_what_is_written_is_told_and_the_second_time_that_nothing_is(run, call):
    code, out, err = call("--out", run, "--no-serve")
    assert (code, err) == (0, "")
    assert out.startswith("written: ")
    assert call("--out", run, "--no-serve") == (
        0,
        "notes, figures and files are as they were\n",
        "",
    )


def test_a_running_search_is_told_of(run, call):
    (run / "search.json").unlink()
    code, out, _ = call("--out", run, "--no-serve")
    assert code == 0
    assert out.startswith("the search has not ended")


def test_a_folder_without_a_run_is_one_line(tmp_path, call):
    code, out, err = call("--out", tmp_path / "none")
    assert (code, out) == (2, "")
    assert err.startswith(f"dpod-search: there is no {tmp_path / 'none' / 'study.journal'}")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_without_the_extra_one_line_says_what_to_install(run, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    code, _, err = call("--out", run)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert 'pip install "dpod-search[dashboard]"' in err
