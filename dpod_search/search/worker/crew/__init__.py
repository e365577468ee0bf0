"""The workers of a study: how they take turns, and how they know who is alive."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from dpod_search.errors import ConfigError
from dpod_search.search.store.optuna_internals import find_database
from dpod_search.search.store.optuna_internals import find_journal
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.worker.crew.crew import Crew
from dpod_search.search.worker.crew.crew import LocalCrew
from dpod_search.search.worker.crew.files import FileCrew
from dpod_search.search.worker.crew.postgres import PostgresCrew


__all__ = ["Crew", "check_shareable", "join_crew"]


def join_crew(study: optuna.Study) -> Crew:
    """Become a worker of a study; a context manager.

    Args:
        study: The study. Where it is kept says how its workers meet: in files beside a journal
            or an SQLite database, at the PostgreSQL server, or else within this process.

    Raises:
        ConfigError: If locks cannot be made beside the study's file.
        RunFolderError: If the database cannot be reached.
    """
    storage = storage_of(study)
    file = _find_file(storage)
    if file is not None:
        return FileCrew(file, study.study_name)
    database = find_database(storage)
    if database is not None and database.engine.dialect.name == "postgresql":
        return PostgresCrew(database.engine, study.study_name)
    return LocalCrew(storage, study.study_name)


def check_shareable(storage: BaseStorage) -> None:
    """Check that processes can share a study in this storage.

    Raises:
        ConfigError: If there is no lock that all of them see.
    """
    database = find_database(storage)
    is_postgres = database is not None and database.engine.dialect.name == "postgresql"
    if _find_file(storage) is None and not is_postgres:
        raise ConfigError(
            "several processes can only share a study that is kept in a journal, in SQLite or in "
            "PostgreSQL; give such a --storage, or search with one process"
        )


def _find_file(storage: BaseStorage) -> Path | None:
    database = find_database(storage)
    if database is None or database.engine.dialect.name != "sqlite":
        return find_journal(storage)
    name = database.engine.url.database
    return None if name in (None, "", ":memory:") or name.startswith("file:") else Path(name)
