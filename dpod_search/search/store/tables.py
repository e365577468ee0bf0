"""Which table suits a study's storage."""

from __future__ import annotations

import optuna
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage

from dpod_search.search.store.database_table import DatabaseTable
from dpod_search.search.store.optuna_internals import find_database
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.optuna_internals import study_id_of
from dpod_search.search.store.trial_table import JournalTable
from dpod_search.search.store.trial_table import MemoryTable
from dpod_search.search.store.trial_table import TrialTable


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
