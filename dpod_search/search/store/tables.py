"""Which table suits a study's storage."""

from __future__ import annotations

import optuna
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage

from dpod_search.search.store.database_table import DatabaseTable
from dpod_search.search.store.trial_table import JournalTable
from dpod_search.search.store.trial_table import MemoryTable
from dpod_search.search.store.trial_table import TrialTable


def open_table(study: optuna.Study) -> TrialTable:
    """Return the table of a study's trials, the quickest that its storage allows."""
    storage, study_id = study._storage, study._study_id
    if isinstance(storage, InMemoryStorage):
        return MemoryTable(storage, study_id)
    if isinstance(storage, JournalStorage):
        return JournalTable(storage, study_id)
    if isinstance(storage, RDBStorage | _CachedStorage):
        return DatabaseTable(storage, study_id)
    return TrialTable(storage, study_id)
