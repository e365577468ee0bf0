"""Studies in a journal: a file to which every process appends, a line a record."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import BinaryIO

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dpod_search.errors import CheckpointError
from dpod_search.search.store.attributes import SIGNATURE
from dpod_search.search.store.optuna_internals import CREATE_TRIAL
from dpod_search.search.store.optuna_internals import END_TRIAL
from dpod_search.search.store.optuna_internals import SET_TRIAL_SYSTEM_ATTR
from dpod_search.search.store.optuna_internals import JournalLock
from dpod_search.search.store.optuna_internals import OpenJournalStorage
from dpod_search.search.store.optuna_internals import find_journal
from dpod_search.search.store.optuna_internals import hold
from dpod_search.search.store.optuna_internals import lock_of
from dpod_search.search.store.optuna_internals import path_of


POLL_SECONDS = 0.002  # the lock is held for about a millisecond; filelock waits 50
_CHUNK = 4096
_BEGINNING = b'{"op_code":'  # of every record, as Optuna and this module write it
# What Optuna meets, one way or another, in a record that is none of its own.
_NO_RECORD = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class KernelLock(JournalLock):
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
        """Append records, and flush them to the disk if one of them ends a trial.

        Raises:
            CheckpointError: If the journal cannot be written, because the disk is full for
                instance.
        """
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        is_end = any(map(_ends_trial, logs))
        path = path_of(self)
        try:
            with hold(lock_of(self)), path.open("r+b") as file:
                _cut_torn_line(file)
                file.write("".join(lines).encode())
                if is_end:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(
                f"could not write {path}: {error.strerror or error}; free some space "
                "and run the same command again"
            ) from error


class BatchJournalStorage(OpenJournalStorage):
    """A journal storage that can write many records at once, and names a record that is none.

    Optuna's own writes, and reads back, one record after the other.
    """

    def __init__(self, log_storage: BaseJournalBackend) -> None:
        self._batch = threading.local()
        super().__init__(log_storage)

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
        if records:
            self.append_records(records)

    def write_record(self, record: dict[str, Any]) -> None:
        """Write a record, or keep it in a block of :meth:`together`."""
        records = getattr(self._batch, "records", None)
        if records is None:
            super().write_record(record)
        else:
            records.append(record)

    def replay_new(self) -> None:
        """Replay what is new, but in a block of :meth:`together`; name a record that is none."""
        if getattr(self._batch, "records", None) is not None:
            return
        records, number = self.list_new(), self.n_replayed
        while True:
            number += 1
            record = None
            try:
                record = next(records, None)
                if record is None:
                    return
                self._check_place(record)
                self.replay_record(record)
            except _NO_RECORD as error:
                if isinstance(record, dict) and record.get("worker_id") == self.worker_id:
                    raise  # so Optuna says that what this process has asked for cannot be
                raise _damaged(find_journal(self) or "", number) from error

    def _check_place(self, record: dict[str, Any]) -> None:
        """Raise where Optuna would pass over a record because what it belongs to is missing.

        It has to do so: a process may ask for what is not there, and that it did stands in the
        journal for ever. But nobody makes a trial, or signs one, of what was never made. Whoever
        signs one that has ended was only slower than another program that ended it.
        """
        operation = record["op_code"]
        if operation == CREATE_TRIAL and not self.knows_study(record["study_id"]):
            raise ValueError(f"there is no study {record['study_id']}")
        is_signing = operation == SET_TRIAL_SYSTEM_ATTR and SIGNATURE in record["system_attr"]
        if is_signing and not self.knows_trial(record["trial_id"]):
            raise ValueError(f"there is no trial {record['trial_id']}")


def open_journal(path: Path) -> BatchJournalStorage:
    """Open a journal to write to it, and make it if it is missing.

    A line that a killed process has left half written is not read. It stays until the next
    record is written, for until then it is not certain that anything is.

    Args:
        path: The journal.

    Raises:
        CheckpointError: If a line is no record of Optuna's; the message names it.
        OSError: If the file cannot be read, or made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _count_lines(path)  # a file that is no journal gets no lock beside it
    with hold(KernelLock(path)):  # nobody is in the middle of a line
        return _replay(path)


def read_journal(path: Path) -> BatchJournalStorage:
    """Open a journal that exists, without a trace; otherwise as :func:`open_journal`."""
    return _replay(path)


def _replay(path: Path) -> BatchJournalStorage:
    n_lines = _count_lines(path)
    storage = BatchJournalStorage(TrialJournal(str(path), lock_obj=KernelLock(path)))
    # Optuna takes a last line that it cannot read for half a record.
    if storage.n_replayed < n_lines:
        raise _damaged(path, storage.n_replayed + 1)
    return storage


def _count_lines(path: Path) -> int:
    """Return the number of whole lines of a journal.

    Raises:
        CheckpointError: If the file does not begin as a journal does.
    """
    n_lines, first, line = 0, b"", b""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                first = first or line
                n_lines += line.endswith(b"\n")
    begins = first.startswith(_BEGINNING) or (not n_lines and _BEGINNING.startswith(first))
    if not (begins or _is_record(first)):
        raise _damaged(path, 1)
    return n_lines


def _is_record(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except _NO_RECORD:
        return False


def _damaged(path: str | Path, number: int) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged in line {number}, or no journal of Optuna's; restore it from a copy, "
        "or move it away to start the search again"
    )


def _ends_trial(record: dict[str, Any]) -> bool:
    if record["op_code"] == CREATE_TRIAL:
        return TrialState(record.get("state", TrialState.RUNNING)).is_finished()
    return bool(record["op_code"] == END_TRIAL)


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
