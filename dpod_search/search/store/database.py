"""Studies in a database: SQLite with a write-ahead log, PostgreSQL, or another of Optuna's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.search.store.journal import POLL_SECONDS
from dpod_search.search.store.quiet import quiet_optuna
from dpod_search.search.store.urls import describe_complaint
from dpod_search.search.store.urls import hide_password


SQLITE_TIMEOUT = 60.0
_TABLES_LOCK = 5_204_117  # any number that nobody else is likely to lock
_SQLITE_HEADER = b"SQLite format 3\0"
_AHEAD = slice(18, 20)  # bytes of the header that say whether there is a write-ahead log


def open_database(url: str) -> BaseStorage:
    """Open a database, and make its tables if it has none.

    Raises:
        ConfigError: If it cannot be opened.
    """
    with _explaining(url):
        if _find_sqlite(url) is not None:
            return _open_sqlite(url)
        with _one_at_a_time(url):
            return get_storage(url)


def open_existing_database(url: str, *, is_read_only: bool) -> BaseStorage:
    """Open a database as it is; one without tables of Optuna's is an empty storage.

    Raises:
        ConfigError: If it cannot be opened.
    """
    with _explaining(url):
        file = find_sqlite_file(url)
        options: dict[str, Any] = {}
        if file is not None:
            _check_sqlite(file)
            options = _reading(file) if is_read_only else _waiting()
        passing = {**options, "poolclass": sqlalchemy.pool.NullPool}  # keeps no connection open
        engine = sqlalchemy.create_engine(url, **passing)
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("studies"):
                return InMemoryStorage()
        kept = passing if is_read_only else options
        return get_storage(RDBStorage(url, engine_kwargs=kept, skip_table_creation=True))


@contextmanager
def telling_database_errors(url: str = "") -> Iterator[None]:
    """Say in one line what a database that was opened complains of, a full disk for instance.

    Args:
        url: Its URL, if it is to be named.

    Raises:
        RunFolderError: In place of the errors of Optuna and SQLAlchemy.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        name = f" {hide_password(url)}" if url else ""
        said = describe_complaint(error.__cause__ or error, url)  # Optuna's own tells nothing
        raise RunFolderError(
            f"the study's database{name} cannot be read or written ({said}); free some space if "
            "it is full, restore it from a copy if it is damaged, and run the same command again"
        ) from error


def find_sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database, or None of any other."""
    name = _find_sqlite(url)
    return Path(name) if name and name != ":memory:" and not name.startswith("file:") else None


def _find_sqlite(url: str) -> str | None:
    """Return the name of an SQLite database, empty in memory, or None of any other."""
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None
    is_sqlite = parsed.get_backend_name() == "sqlite" and not parsed.host
    return parsed.database or "" if is_sqlite else None


@contextmanager
def _explaining(url: str) -> Iterator[None]:
    try:
        with quiet_optuna():
            yield
    except (
        optuna.exceptions.OptunaError,
        sqlalchemy.exc.SQLAlchemyError,
        ImportError,
        OSError,
        RuntimeError,  # tables of another version of Optuna
        ValueError,
    ) as error:
        raise ConfigError(
            f"storage {hide_password(url)} cannot be opened ({describe_complaint(error, url)}); "
            "check the URL"
        ) from error


@contextmanager
def _one_at_a_time(url: str) -> Iterator[None]:
    """Keep other processes of this package out, in PostgreSQL.

    Optuna makes its tables if they are not there, and two processes that do so at once fail.
    """
    if not url.startswith("postgresql"):
        yield
        return
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:  # the lock ends with the connection
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({_TABLES_LOCK})"))
        yield


def _open_sqlite(url: str) -> BaseStorage:
    file = find_sqlite_file(url)
    if file is not None and not file.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {file.parent}")  # not to be made
    if file is not None and file.exists():
        _check_sqlite(file)
    # As in PostgreSQL: one process at a time makes the tables.
    with FileLock(f"{file}.lock", poll_interval=POLL_SECONDS) if file else nullcontext():
        storage = RDBStorage(url, engine_kwargs=_waiting())
        if file is not None:
            sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
            # The connections made so far have not met the listener.
            storage.engine.dispose()
            with storage.engine.connect():
                pass  # the first to do so turns the write-ahead log on
        return get_storage(storage)


def _check_sqlite(file: Path) -> None:
    """Raise unless a file is a database; SQLite would lock and log beside it before it looks."""
    with file.open("rb") as opened:
        start = opened.read(len(_SQLITE_HEADER))
    if start not in (b"", _SQLITE_HEADER):
        raise ValueError(f"{file} is no SQLite database")


def _waiting() -> dict[str, Any]:
    return {"connect_args": {"timeout": SQLITE_TIMEOUT}}


def _reading(file: Path) -> dict[str, Any]:
    """Return options of an engine that leaves an SQLite database and its folder as they are."""
    with file.open("rb") as opened:
        is_ahead = opened.read(_AHEAD.stop)[_AHEAD] == b"\2\2"
    log = Path(f"{file}-wal")
    # Even who only reads a database with a write-ahead log makes the log if it is missing, and
    # leaves it. Without one the file is all there is to read.
    is_whole = is_ahead and not (log.exists() and log.stat().st_size)
    uri = f"{file.absolute().as_uri()}?mode=ro" + ("&immutable=1" if is_whole else "")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=SQLITE_TIMEOUT, check_same_thread=False)

    return {"creator": connect}


def _tune_sqlite(connection: Any, record: Any) -> None:
    # With a write-ahead log readers (the dashboard) do not block the search, and a commit
    # costs one write fewer; after a power cut the last commits may be missing, never more.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
