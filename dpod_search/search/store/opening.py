"""The doors of storages: one for who searches, one for who looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.pareto import Direction
from dpod_search.search.store.database import find_sqlite_file
from dpod_search.search.store.database import open_database
from dpod_search.search.store.database import open_existing_database
from dpod_search.search.store.journal import open_journal
from dpod_search.search.store.journal import read_journal
from dpod_search.search.store.quiet import quiet_optuna
from dpod_search.search.store.urls import check_lasting
from dpod_search.search.store.urls import check_url
from dpod_search.search.store.urls import is_url


def open_storage(target: str | Path | BaseStorage | None) -> BaseStorage:
    """Open the storage of a study that is to be searched; it is made if it is missing.

    Args:
        target: A path of a journal file (a last line torn by a kill is not read, and the next
            record takes its place), a URL of Optuna's (``sqlite:///study.db``,
            ``postgresql+psycopg://...``), an open storage, or None for one in memory.

    Returns:
        The open storage.

    Raises:
        ConfigError: If the URL is not valid, its database cannot be reached, or the journal
            cannot be written.
        CheckpointError: If the journal is damaged, or the file is none.
    """
    if target is None:
        return InMemoryStorage()
    if isinstance(target, BaseStorage):
        return target
    if isinstance(target, str):
        check_url(target)
        if is_url(target):
            return open_database(target)
    return _open_file(Path(target), is_new=True)


def open_existing(target: str | Path | BaseStorage, *, is_read_only: bool = True) -> BaseStorage:
    """Open a storage that is there already, without changing or making any file.

    Args:
        target: As for :func:`open_storage`.
        is_read_only: Nothing will be written to it. Otherwise the storage is as it was until
            something is.

    Returns:
        The open storage; an empty one if the database has no tables of Optuna's.

    Raises:
        RunFolderError: If the file of a journal or of SQLite does not exist.
        ConfigError: If the storage cannot be opened, or is in memory.
        CheckpointError: If the journal is damaged, or the file is none.
    """
    if isinstance(target, BaseStorage):
        return target
    text = str(target)
    check_url(text)
    check_lasting(text)
    file = find_file(text)
    if file is not None and not file.exists():
        raise RunFolderError(
            f"there is no {file}; run `dpod-search search` first, or give the --storage that the "
            "search was given"
        )
    if is_url(text):
        return open_existing_database(text, is_read_only=is_read_only)
    return _open_file(Path(text), is_new=False)


def find_file(target: str | Path) -> Path | None:
    """Return the file of a journal or of an SQLite database, or None if a storage has none."""
    text = str(target)
    return find_sqlite_file(text) if is_url(text) else Path(text)


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


def _open_file(path: Path, *, is_new: bool) -> BaseStorage:
    try:
        return open_journal(path) if is_new else read_journal(path)
    except OSError as error:
        fix = "file in a folder that can be written" if is_new else "file that can be read"
        raise ConfigError(
            f"storage {path} cannot be opened ({error.strerror or error}); name a {fix}"
        ) from error
