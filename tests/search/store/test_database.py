from __future__ import annotations

import sqlite3
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy
from optuna.study import StudyDirection
from search.fakes import search
from traces import snapshot
from traces import unwritable_copy

from dpod_search.errors import ConfigError
from dpod_search.search import open_storage
from dpod_search.search.store import open_existing


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


@contextmanager
def closing(storage):
    """Close a database's connections after the block, as a process does that ends."""
    try:
        yield storage
    finally:
        storage._backend.engine.dispose()


@pytest.fixture
def database(tmp_path):
    """The file of a study in SQLite, in a folder of its own."""
    file = tmp_path / "place" / "study #1%.db"
    file.parent.mkdir()
    with closing(open_storage(f"sqlite:///{file}")) as storage:
        search(storage)
    (file.parent / f"{file.name}.lock").unlink()
    return file


def count(storage):
    study = optuna.load_study(study_name="s", storage=storage)
    return len(study.get_trials(deepcopy=False))


def test_who_only_looks_leaves_no_trace(database):
    before = snapshot(database.parent)
    assert count(open_existing(f"sqlite:///{database}")) == 8
    assert snapshot(database.parent) == before


def test_who_only_looks_sees_what_is_in_the_log_still(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    search(url)
    with sqlite3.connect(tmp_path / "study.db") as writer:
        writer.execute("UPDATE studies SET study_name = 'other'")
        writer.commit()
        assert (tmp_path / "study.db-wal").stat().st_size > 0
        names = optuna.get_all_study_names(open_existing(url))
    writer.close()
    assert names == ["other"]


def test_who_only_looks_needs_no_folder_that_can_be_written_to(database):
    with unwritable_copy(database.parent) as place:
        assert count(open_existing(f"sqlite:///{place / database.name}")) == 8


@pytest.mark.parametrize("is_read_only", [True, False])
def test_who_looks_makes_no_tables(tmp_path, is_read_only):
    file = tmp_path / "mine.db"
    with sqlite3.connect(file) as mine:
        mine.execute("CREATE TABLE films (name TEXT)")
    mine.close()
    before = snapshot(tmp_path)
    url = f"sqlite:///{file}"
    assert optuna.get_all_study_names(open_existing(url, is_read_only=is_read_only)) == []
    assert snapshot(tmp_path) == before


def test_who_may_write_touches_nothing_before(database):
    before = snapshot(database.parent)
    url = f"sqlite:///{database}"
    with closing(open_existing(url, is_read_only=False)) as storage:
        assert count(storage) == 8
    after = snapshot(database.parent)
    del before["."], after["."]  # SQLite makes its log, and takes it away again
    assert after == before
    with closing(open_existing(url, is_read_only=False)) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE], "another")
        assert optuna.get_all_study_names(storage) == ["s", "another"]


def test_a_file_that_is_no_database_gets_nothing_beside_it(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    for look in (open_storage, open_existing):
        with pytest.raises(ConfigError, match="is no SQLite database"):
            look(f"sqlite:///{tmp_path}/notes.txt")
    assert snapshot(tmp_path) == before


def test_who_looks_at_postgresql_makes_no_tables(server):
    assert optuna.get_all_study_names(open_existing(server)) == []
    engine = sqlalchemy.create_engine(server, poolclass=sqlalchemy.pool.NullPool)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    with closing(open_storage(server)) as storage:
        search(storage)
    with closing(open_existing(server)) as storage:
        assert count(storage) == 8
