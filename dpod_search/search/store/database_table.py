"""The trials of a study in a database, written in one transaction each.

Optuna's own writes make a transaction, and several queries, of every parameter. The rows here
are the same that Optuna makes, and a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC
from datetime import datetime
from itertools import chain
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.distributions import distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from sqlalchemy import Connection
from sqlalchemy import Table

from dpod_search.errors import RunFolderError
from dpod_search.search.store import telling_database_errors
from dpod_search.search.store.optuna_internals import find_database
from dpod_search.search.store.optuna_internals import list_tables
from dpod_search.search.store.optuna_internals import read_rows
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.optuna_internals import study_id_of
from dpod_search.search.store.optuna_internals import to_stored_value
from dpod_search.search.store.optuna_internals import trial_id_of
from dpod_search.search.store.trial_table import Change
from dpod_search.search.store.trial_table import JournalTable
from dpod_search.search.store.trial_table import MemoryTable
from dpod_search.search.store.trial_table import TrialTable


_TABLES = list_tables()
_STUDIES = _TABLES["studies"]
_TRIALS = _TABLES["trials"]
_VALUES = _TABLES["trial_values"]
_PARAMS = _TABLES["trial_params"]
_USER = _TABLES["trial_user_attributes"]
_SYSTEM = _TABLES["trial_system_attributes"]

_OPEN = (TrialState.RUNNING, TrialState.WAITING)


class DatabaseTable(TrialTable):
    """Trials of a database: rows behind the last one read, past Optuna's cache of all of them.

    Args:
        storage: The storage, an ``RDBStorage`` or Optuna's cache around one.
        study_id: The study's id in it.
    """

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        super().__init__(storage, study_id)
        database = find_database(storage)
        assert database is not None
        self._database = database
        self._last_id = -1

    @property
    def writes_batches(self) -> bool:
        """Whether several trials are written for the price of one."""
        return True

    def update(self, trial_id: int, change: Change) -> None:
        """Write changes of a trial at once."""
        if change.is_empty:
            return
        row: dict[str, Any] = {"state": change.state or _TRIALS.c.state}
        if change.state is not None:
            row["datetime_complete"] = _to_utc(datetime.now())
        is_it = _TRIALS.c.trial_id == trial_id
        with self._transaction() as connection:
            done = connection.execute(
                sqlalchemy.update(_TRIALS).where(is_it, _TRIALS.c.state.in_(_OPEN)).values(**row)
            )
            if done.rowcount == 0:
                raise UpdateFinishedTrialError(f"the trial with id {trial_id} has ended before")
            for table, attributes in ((_USER, change.user), (_SYSTEM, change.system)):
                if attributes:
                    known = (table.c.trial_id == trial_id, table.c.key.in_(list(attributes)))
                    connection.execute(sqlalchemy.delete(table).where(*known))
                _insert(connection, table, _list_attributes(trial_id, attributes))
            params = _list_params(trial_id, change.params, change.distributions)
            _insert(connection, _PARAMS, params)
            _insert(connection, _VALUES, _list_values(trial_id, change.values))

    def _fetch(self) -> list[FrozenTrial]:
        if self._last_id < 0:
            # All of them, which Optuna's cache then has too; whoever lists them later is glad.
            rows = self._storage.get_all_trials(self._study_id, deepcopy=False)
            self._last_id = max((trial_id_of(row) for row in rows), default=-1)
            return rows
        ids = set(self._unfinished.values())
        rows = read_rows(self._database, self._study_id, ids, self._last_id)
        self._last_id = max((self._last_id, *(trial_id_of(row) for row in rows)))
        return sorted(rows, key=lambda trial: trial.number)

    def _create(self, trials: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
        with self._transaction() as connection:
            number = self._find_next_number(connection)
            ids = [
                self._insert_trial(connection, number + i, trial) for i, trial in enumerate(trials)
            ]
            pairs = list(zip(ids, trials, strict=True))
            listed = {
                _VALUES: [_list_values(i, trial.values) for i, trial in pairs],
                _PARAMS: [_list_params(i, t.params, t.distributions) for i, t in pairs],
                _USER: [_list_attributes(i, trial.user_attrs) for i, trial in pairs],
                _SYSTEM: [_list_attributes(i, trial.system_attrs) for i, trial in pairs],
            }
            for table, rows in listed.items():
                _insert(connection, table, list(chain.from_iterable(rows)))
        if number == self._n_read:
            self._last_id = ids[-1]
        return list(enumerate(ids, start=number))

    def _find_next_number(self, connection: Connection) -> int:
        is_it = _STUDIES.c.study_id == self._study_id
        if connection.dialect.name == "sqlite":
            # It knows no FOR UPDATE; a write, even of nothing new, keeps other writers out.
            same = {"study_name": _STUDIES.c.study_name}
            found = connection.execute(sqlalchemy.update(_STUDIES).where(is_it).values(**same))
            is_there = found.rowcount > 0
        else:
            query = sqlalchemy.select(_STUDIES.c.study_id).where(is_it).with_for_update()
            is_there = connection.execute(query).first() is not None
        if not is_there:  # its trials would be those of the next study that gets its id
            raise RunFolderError(
                "the study was deleted while it was searched; run the same command again to "
                "search anew"
            )
        # Numbers rise with ids, so that the last trial tells; Optuna counts them all.
        query = sqlalchemy.select(_TRIALS.c.number).where(_TRIALS.c.study_id == self._study_id)
        last = connection.execute(query.order_by(_TRIALS.c.trial_id.desc()).limit(1)).scalar()
        return 0 if last is None else int(last) + 1

    def _insert_trial(self, connection: Connection, number: int, trial: FrozenTrial) -> int:
        row = {
            "number": number,
            "study_id": self._study_id,
            "state": trial.state,
            "datetime_start": _to_utc(trial.datetime_start),
            "datetime_complete": _to_utc(trial.datetime_complete),
        }
        key = connection.execute(sqlalchemy.insert(_TRIALS).values(**row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        database = self._database
        with telling_database_errors(database.url), database.engine.begin() as connection:
            yield connection


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(sqlalchemy.insert(table), list(rows))


def _list_values(trial_id: int, values: Sequence[float] | None) -> list[dict[str, Any]]:
    rows = []
    for i, value in enumerate(values or ()):
        stored, kind = to_stored_value(value)
        rows.append({"trial_id": trial_id, "objective": i, "value": stored, "value_type": kind})
    return rows


def _list_params(
    trial_id: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, Any]]:
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(distributions[name]),
        }
        for name, value in params.items()
    ]


def _list_attributes(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]


def _to_utc(moment: datetime | None) -> datetime | None:
    # As Optuna keeps them: in UTC, without saying so.
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def open_table(study: optuna.Study) -> TrialTable:
    """Return the table of a study's trials, the quickest that its storage allows."""
    storage, study_id = storage_of(study), study_id_of(study)
    if isinstance(storage, InMemoryStorage):
        return MemoryTable(storage, study_id)
    if isinstance(storage, JournalStorage):
        return JournalTable(storage, study_id)
    if find_database(storage) is not None:
        return DatabaseTable(storage, study_id)
    return TrialTable(storage, study_id)
