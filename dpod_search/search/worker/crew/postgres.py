"""Workers on any machine: advisory locks of the PostgreSQL server that keeps the study.

A session-level advisory lock belongs to a connection. The server frees it when the connection
ends, and a connection ends with its process.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from dpod_search.errors import RunFolderError
from dpod_search.files import hash_value
from dpod_search.search.store import describe_complaint
from dpod_search.search.worker.crew.crew import Crew


# A machine that vanishes closes no connection; after these seconds without a sign of it the
# server takes it for gone. For processes that die no waiting is needed.
_KEEPALIVES = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}

# Two numbers name a lock. The first stands for the study; of the second, 0 is the study's own
# lock and every other a worker.
_LOCK = "SELECT pg_advisory_lock(:study, :key)"
_TRY = "SELECT pg_try_advisory_lock(:study, :key)"
_UNLOCK = "SELECT pg_advisory_unlock(:study, :key)"
_LIVE = (
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "
    "AND classid = :study AND objid <> 0 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class PostgresCrew(Crew):
    """Workers that reach the same PostgreSQL database.

    Args:
        engine: Connects to it; this worker keeps one connection of its own.
        study_name: The study.

    Raises:
        RunFolderError: If the connection is lost, then or later. Another worker may have taken
            over what this one was doing, so it must not go on.
    """

    def __init__(self, engine: sqlalchemy.Engine, study_name: str) -> None:
        self._url = engine.url.render_as_string(hide_password=False)
        self._study = int(hash_value(study_name)[:8], 16) >> 1
        try:
            # Apart from the pool, which would close the connection after a while of its own.
            own = sqlalchemy.create_engine(engine.url, poolclass=sqlalchemy.pool.NullPool)
            self._connection = own.connect().execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError as error:
            raise self._lost(error) from error
        for name, value in _KEEPALIVES.items():
            self._ask(f"SET {name} = {value}")
        self._key = self._register()

    @property
    def me(self) -> str:
        """The id of this worker."""
        return _name(self._key)

    def acquire(self) -> None:
        """Wait for the study's lock and take it; the server keeps a queue."""
        self._ask(_LOCK, study=self._study, key=0)

    def release(self) -> None:
        """Give the study's lock back."""
        self._ask(_UNLOCK, study=self._study, key=0)

    def find_live(self) -> frozenset[str]:
        """Ask the server who holds a worker's lock."""
        return frozenset(_name(int(row[0])) for row in self._ask(_LIVE, study=self._study))

    def close(self) -> None:
        """Leave; the server frees what this worker held."""
        with suppress(RunFolderError):  # a connection that is lost holds nothing
            self._ask("SELECT pg_advisory_unlock_all()")
        self._connection.close()
        self._connection.engine.dispose()

    def _register(self) -> int:
        while True:
            key = secrets.randbelow(2**31 - 1) + 1
            if self._ask(_TRY, study=self._study, key=key)[0][0]:
                return key

    def _ask(self, statement: str, **values: int) -> list[Any]:
        try:
            result = self._connection.execute(sqlalchemy.text(statement), values)
            return list(result) if result.returns_rows else []
        except SQLAlchemyError as error:
            raise self._lost(error) from error

    def _lost(self, error: SQLAlchemyError) -> RunFolderError:
        why = describe_complaint(error, self._url)
        return RunFolderError(
            f"the connection to the study's database is lost ({why}); run the same command again"
        )


def _name(key: int) -> str:
    return f"{key:08x}"
