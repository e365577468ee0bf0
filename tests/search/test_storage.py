from __future__ import annotations

import subprocess
import sys
import time

import optuna
import pytest
import sqlalchemy
from optuna.storages import InMemoryStorage
from search.fakes import make_task

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.search import KernelLock
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import repair_journal
from dpod_search.search import run_study
from dpod_search.search.storage import TrialJournal


SETTINGS = SearchSettings(n_trials=8, surrogate=False)


def search(storage):
    task = make_task()
    study = open_study("s", storage, task.objectives, make_sampler(SETTINGS, task))
    return run_study(study, task, SETTINGS)


def test_every_storage_gives_the_same_search(tmp_path):
    in_memory = search(None)
    journal = search(tmp_path / "new" / "study.journal")
    sqlite = search(f"sqlite:///{tmp_path}/study.db")
    assert [t.values for t in in_memory.trials] == [t.values for t in journal.trials]
    assert [t.values for t in in_memory.trials] == [t.values for t in sqlite.trials]


def test_an_open_storage_is_taken_as_it_is():
    storage = InMemoryStorage()
    assert open_storage(storage) is storage


def test_sqlite_writes_ahead_and_waits(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    with storage._backend.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == 1
        assert connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar() == 60_000


def test_sqlite_in_memory_works():
    result = search("sqlite:///:memory:")
    assert len(result.trials) == 8


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////no/such/folder/study.db",
        "nonsense://x",
        "postgresql+nothing://user:secret@localhost/db",
        "postgresql://user:secret@[bad",
    ],
)
def test_a_url_that_does_not_work_is_one_line_without_the_password(url):
    with pytest.raises(ConfigError, match="cannot be opened") as error:
        open_storage(url)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_tables_of_another_optuna_are_a_config_error(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    open_storage(url)
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v1.3.0.a'"))
    with pytest.raises(ConfigError, match="cannot be opened") as error:
        open_storage(url)
    assert "\n" not in str(error.value)


def test_a_journal_that_cannot_be_written_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_storage(tmp_path / "file" / "study.journal")


def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    whole = journal.read_bytes()
    assert not repair_journal(journal)
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    assert repair_journal(journal)
    assert journal.read_bytes() == whole
    assert len(search(journal).trials) == 8


@pytest.mark.parametrize("torn", [b'{"op_code":4,"wor', b"x" * 10_000])
def test_a_line_torn_by_another_process_is_cut_off_by_whoever_writes_next(tmp_path, torn):
    journal = tmp_path / "study.journal"
    task = make_task()
    study = open_study("s", journal, task.objectives, make_sampler(SETTINGS, task))
    with journal.open("ab") as file:
        file.write(torn)
    run_study(study, task, SETTINGS)
    assert len(search(journal).trials) == 8
    assert not repair_journal(journal)


def test_a_generation_is_appended_at_once(tmp_path, monkeypatch):
    appended = []
    append = TrialJournal.append_logs

    def note(self, logs):
        appended.append(len(logs))
        append(self, logs)

    monkeypatch.setattr(TrialJournal, "append_logs", note)
    search(tmp_path / "study.journal")
    assert max(appended) == 8


def test_a_finished_study_is_read_without_a_trace(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    whole = journal.read_bytes()
    search(journal)
    assert journal.read_bytes() == whole


def test_a_line_damaged_elsewhere_is_named(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = b"\0" * 20 + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(CheckpointError, match="damaged in line 5"):
        open_storage(journal)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("12\nmine")
    with pytest.raises(CheckpointError, match="line 1"):
        open_storage(other)
    assert other.read_text() == "12\nmine"


def test_a_missing_journal_needs_no_repair(tmp_path):
    assert not repair_journal(tmp_path / "none")


def test_a_killed_process_leaves_no_lock(tmp_path):
    path = tmp_path / "study.journal"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from filelock import FileLock\n"
        f"FileLock({str(path) + '.lock'!r}).acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    start = time.monotonic()
    lock = KernelLock(path)
    lock.acquire()
    lock.release()
    assert time.monotonic() - start < 5


def test_optuna_reads_the_journal_with_its_own_lock(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    study = optuna.load_study(
        study_name="s",
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.RandomSampler(),
    )
    assert len(study.trials) == 8
