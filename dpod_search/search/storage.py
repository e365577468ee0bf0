"""Where studies are kept: a journal file by default, or whatever Optuna has a URL for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from typing import BinaryIO

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection
from optuna.trial import TrialState

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.pareto import Direction
from dpod_search.search.quiet import quiet_optuna


SQLITE_TIMEOUT = 60.0
POLL_SECONDS = 0.002  # the lock is held for about a millisecond; filelock waits 50
_CHUNK = 4096
_TABLES_LOCK = 5_204_117  # any number that nobody else is likely to lock


class KernelLock(BaseJournalFileLock):
    """A lock that the kernel frees when its process dies, however it dies.

    Optuna's own locks are files that a killed process leaves behind; the next process waits
    for half a minute before it dares to take them away.

    Args:
        path: The file to guard; the lock lies beside it as ``<path>.lock``.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        self._lock.acquire(poll_interval=POLL_SECONDS)
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


class TrialJournal(JournalFileBackend):
    """A journal that waits for the disk once a trial, not once a record.

    What is written outlives the process at once; only a power cut can take the records since
    the last finished trial, and resuming makes them again. Optuna's own waits some twenty-five
    times a trial, which on a busy disk costs more than many an evaluation.

    A process that is killed in the middle of a line leaves a part of it. Whoever writes next
    cuts it off, or its own line would be damaged too.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, and flush them to the disk if one of them ends a trial."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        is_end = any(map(_ends_trial, logs))
        with get_lock_file(self._lock), Path(self._file_path).open("r+b") as file:
            _cut_torn_line(file)
            file.write("".join(lines).encode())
            if is_end:
                file.flush()
                os.fsync(file.fileno())


class BatchJournalStorage(JournalStorage):
    """A journal storage that can write many records at once.

    Optuna's own writes, and reads back, one record after the other.
    """

    def __init__(self, log_storage: BaseJournalBackend) -> None:
        self._batch = threading.local()
        super().__init__(log_storage)
        # Optuna reads this after a trial is created, which in a batch has not happened yet.
        self._replay_result._last_created_trial_id_by_this_process = -1

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep the records of this block, and write them when it ends well.

        Nothing that the block writes can be read in it.
        """
        records: list[dict[str, Any]] = []
        self._batch.records = records
        try:
            yield
        finally:
            self._batch.records = None
        with self._thread_lock:
            self._backend.append_logs(records)
            self._sync_with_backend()

    def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
        records = getattr(self._batch, "records", None)
        if records is None:
            super()._write_log(op_code, extra_fields)
        else:
            worker = self._replay_result.worker_id
            records.append({"op_code": op_code, "worker_id": worker, **extra_fields})

    def _sync_with_backend(self) -> None:
        if getattr(self._batch, "records", None) is None:
            super()._sync_with_backend()


def open_storage(target: str | Path | BaseStorage | None) -> BaseStorage:
    """Open the storage of a study.

    Args:
        target: A path of a journal file (it is created, and a last line torn by a kill is cut
            off), a URL of Optuna's (``sqlite:///study.db``, ``postgresql+psycopg://...``), an
            open storage, or None for one in memory.

    Returns:
        The open storage.

    Raises:
        ConfigError: If the URL is not valid, its database cannot be reached, or the journal
            cannot be written.
        CheckpointError: If the journal is damaged.
    """
    if target is None:
        return InMemoryStorage()
    if isinstance(target, BaseStorage):
        return target
    if isinstance(target, str) and "://" in target:
        return _open_url(target)
    return _open_journal(Path(target))


def load_or_create_study(
    name: str,
    storage: BaseStorage,
    directions: Sequence[Direction | StudyDirection],
    sampler: BaseSampler,
) -> optuna.Study:
    """Load a study, or create it if the storage does not have it."""
    # Optuna's own load_if_exists tries to create first, which leaves a record in the journal
    # each time; a study that is only read should not change.
    with quiet_optuna():
        try:
            return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        except KeyError:
            return optuna.create_study(
                study_name=name,
                storage=storage,
                directions=directions,
                sampler=sampler,
                load_if_exists=True,
            )


def repair_journal(path: Path) -> bool:
    """Cut off a last line that was not written to its end.

    Every record of a journal is one line, so what is lost is one operation of the process
    that was killed while writing it.

    Args:
        path: The journal; nothing happens if it does not exist.

    Returns:
        Whether a line was cut off.

    Raises:
        CheckpointError: If another line is damaged; the message names it.
    """
    if not path.exists():
        return False
    lock = KernelLock(path)
    lock.acquire()
    try:
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        _check_lines(path, data[:end])
        if end < len(data):
            with path.open("r+b") as file:
                file.truncate(end)
        return end < len(data)
    finally:
        lock.release()


def _ends_trial(record: dict[str, Any]) -> bool:
    if record["op_code"] == JournalOperation.CREATE_TRIAL:
        return TrialState(record.get("state", TrialState.RUNNING)).is_finished()
    return bool(record["op_code"] == JournalOperation.SET_TRIAL_STATE_VALUES)


def _cut_torn_line(file: BinaryIO) -> None:
    """Leave a journal at the end of its last whole line, to write on from there."""
    end = file.seek(0, os.SEEK_END)
    keep = end
    while keep > 0:
        start = max(0, keep - _CHUNK)
        file.seek(start)
        found = file.read(keep - start).rfind(b"\n")
        if found >= 0:
            keep = start + found + 1
            break
        keep = start
    if keep < end:
        file.truncate(keep)
    file.seek(keep)


def _check_lines(path: Path, data: bytes) -> None:
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            is_record = "op_code" in json.loads(line)
        except (ValueError, TypeError):
            is_record = False
        if not is_record:
            raise CheckpointError(
                f"{path} is damaged in line {number}; restore it from a copy, or move it away "
                "to start the search again"
            )


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        repair_journal(path)
        return BatchJournalStorage(TrialJournal(str(path), lock_obj=KernelLock(path)))
    except OSError as error:
        raise ConfigError(
            f"storage {path} cannot be opened ({error.strerror or error}); name a file in a "
            "folder that can be written"
        ) from error


def _open_url(url: str) -> BaseStorage:
    try:
        with quiet_optuna():
            if url.startswith("sqlite:///"):
                return _open_sqlite(url)
            with _one_at_a_time(url):
                return get_storage(url)
    except (
        optuna.exceptions.OptunaError,
        sqlalchemy.exc.SQLAlchemyError,
        ImportError,
        OSError,
        RuntimeError,  # tables of another version of Optuna
        ValueError,
    ) as error:
        text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        cause = text.splitlines()[0]
        raise ConfigError(
            f"storage {_hide_password(url)} cannot be opened ({cause}); check the URL"
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
    file = sqlalchemy.engine.make_url(url).database
    is_file = file not in (None, "", ":memory:")
    if is_file and not Path(str(file)).parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(str(file)).parent}")  # not to be made
    # As in PostgreSQL: one process at a time makes the tables.
    with FileLock(f"{file}.lock", poll_interval=POLL_SECONDS) if is_file else nullcontext():
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT}})
        if is_file:
            sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
            # The connections made so far have not met the listener.
            storage.engine.dispose()
            with storage.engine.connect():
                pass  # the first to do so turns the write-ahead log on
        return get_storage(storage)


def _tune_sqlite(connection: Any, record: Any) -> None:
    # With a write-ahead log readers (the dashboard) do not block the search, and a commit
    # costs one write fewer; after a power cut the last commits may be missing, never more.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _hide_password(url: str) -> str:
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return f"{url.split('://', maxsplit=1)[0]}://..."
