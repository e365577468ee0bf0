from __future__ import annotations

import pytest
import torch
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished
from pipeline.tiny import load_tiny

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.files import read_json
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work


@pytest.fixture
def folder(tmp_path, tmp_path_factory):
    return copy_run(find_finished(tmp_path_factory), tmp_path / "run")


def test_a_worker_joins_a_run_that_another_process_holds(folder):
    before = read_json(folder / "search.json")
    with RunFolder(folder):
        result = work(load_tiny("search.n_trials=16"), folder)
    assert len(result.trials) == 16
    # It leaves the records to the process that owns the folder.
    assert read_json(folder / "search.json") == before


def test_a_worker_needs_a_run_with_a_trained_supernet(folder, tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        work(load_tiny(), tmp_path / "other")
    with pytest.raises(RunFolderError, match="holds a different study"):
        work(load_tiny("training.epochs=3"), folder)
    (folder / ".stages" / "train.json").unlink()
    with pytest.raises(RunFolderError, match="train"):
        work(load_tiny(), folder)


def test_a_storage_that_processes_cannot_share_is_refused(folder):
    with pytest.raises(ConfigError, match="several processes can only share"):
        work(load_tiny(), folder, storage="sqlite:///:memory:")


def test_a_search_starts_helpers_and_leaves_none_behind(folder):
    before = torch.get_num_threads()
    run_stages(load_tiny("search.n_trials=40"), folder, stages=("search",), n_jobs=2)
    assert sum(read_json(folder / "search.json")["counts"].values()) == 40
    assert torch.get_num_threads() == before


def test_helpers_are_not_told_of_a_password_in_words_that_all_users_see(
    folder, tmp_path, monkeypatch
):
    started = []

    class Helper:
        def __init__(self, command, *, env, **files):
            started.append((" ".join(command), env))

        def kill(self):
            pass

        wait = kill

    monkeypatch.setattr("dpod_search.pipeline.stages.working.subprocess.Popen", Helper)
    monkeypatch.setenv("DPOD_STORAGE", "sqlite:///another.db")
    storage = f"sqlite:///{tmp_path}/study.db?timeout=9"
    sets = "search.n_trials=3"
    run_stages(load_tiny(sets), folder, stages=("search",), n_jobs=2)
    run_stages(load_tiny(sets), folder, stages=("search",), storage=storage, n_jobs=2)
    # A folder remembers its storage, so the one without comes first.
    (another, other_env), (command, env) = started
    assert "study.db" not in command
    assert env["DPOD_STORAGE"] == storage
    # The journal in the run folder needs no telling; what the environment has is not this run's.
    assert "--storage" not in another
    assert "DPOD_STORAGE" not in other_env


def test_a_search_on_a_wrong_storage_leaves_the_one_that_ended(folder, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no journal\n")
    files = [folder / "config.toml", folder / ".stages" / "search.json"]
    held = [file.read_text() for file in files]
    for storage in (str(notes), f"sqlite:///{tmp_path}/gone/study.db"):
        with pytest.raises((CheckpointError, ConfigError)):
            run_stages(load_tiny(), folder, stages=["search"], storage=storage)
        assert [file.read_text() for file in files if file.exists()] == held
