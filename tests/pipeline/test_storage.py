"""Where a run's study is: remembered by its folder, without a password."""

from __future__ import annotations

import pytest
from pipeline.tiny import load_tiny

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.files import read_json
from dpod_search.pipeline import read_status
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.storage import StudyStorage
from dpod_search.pipeline.storage import find_storage
from dpod_search.pipeline.storage import keep_storage


URL = "postgresql+psycopg://me:hidden@host/db?sslmode=require"
SHOWN = "postgresql+psycopg://me:***@host/db?sslmode=require"


def remember(folder, url):
    assert keep_storage(folder, find_storage(folder, url))
    return (folder / "storage.json").read_text()


def test_a_folder_remembers_nothing_of_its_own_journal(tmp_path):
    assert find_storage(tmp_path, None) == StudyStorage()
    assert not keep_storage(tmp_path, StudyStorage())
    assert not list(tmp_path.iterdir())


def test_a_password_is_not_kept_and_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert "hidden" not in remember(tmp_path, URL)
    with pytest.raises(ConfigError, match=r"its password is not kept; set DPOD_STORAGE to the"):
        find_storage(tmp_path, None)
    assert find_storage(tmp_path, None, is_opened=False) == StudyStorage(None, SHOWN)
    monkeypatch.setenv("PGPASSWORD", "hidden")
    bare = "postgresql+psycopg://me@host/db?sslmode=require"
    assert find_storage(tmp_path, None) == StudyStorage(bare, SHOWN)
    assert find_storage(tmp_path, URL) == StudyStorage(URL, SHOWN)


@pytest.mark.parametrize("name", ["sqlite:///study.db", "study.log"])
def test_a_file_is_found_again_from_another_folder(tmp_path, monkeypatch, name):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    remember(run, name)
    assert find_storage(run, None) == StudyStorage(name, name)
    monkeypatch.chdir(elsewhere)
    found = find_storage(run, None)
    assert found.spelling == name
    assert found.url == name.replace("study.", f"{tmp_path}/study.")


def test_a_file_in_the_run_folder_moves_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    remember(old, "sqlite:///old/study.db")
    old.rename(new)
    assert find_storage(new, None).url == f"sqlite:///{new}/study.db"


def test_later_commands_need_no_storage_and_do_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, run = load_tiny("training.epochs=1"), tmp_path / "run"
    run_stages(config, run, stages=("train", "search"), storage="sqlite:///study.db")
    assert read_json(run / "storage.json")["url"] == "sqlite:///study.db"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_status(run)["trials"] == {"complete": 12}
    (outcome,) = run_stages(config, run, stages=("search",))
    assert outcome.was_done
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not (run / "study.journal").exists()
    kept = (run / "storage.json").read_bytes()
    other = load_tiny("training.epochs=1", "search.sampler=tpe")
    with pytest.raises(RunFolderError, match=r"was nsga2, now tpe.*--set name=digits-2") as error:
        run_stages(other, run, stages=("search",))
    assert "to go on as it was: `dpod-search run --run" in str(error.value)
    assert (run / "storage.json").read_bytes() == kept
    run_stages(config, run, stages=("train",), storage="sqlite:///no_search.db")
    assert (run / "storage.json").read_bytes() == kept
    with pytest.raises(ConfigError):
        run_stages(config, run, stages=("search",), storage="sqlite:////nowhere/at/all.db")
    assert (run / "storage.json").read_bytes() == kept
