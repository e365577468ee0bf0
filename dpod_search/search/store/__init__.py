"""Where studies are kept: a journal file by default, or whatever Optuna has a URL for."""

from __future__ import annotations

from dpod_search.search.store.database import telling_database_errors
from dpod_search.search.store.journal import POLL_SECONDS
from dpod_search.search.store.journal import BatchJournalStorage
from dpod_search.search.store.journal import KernelLock
from dpod_search.search.store.journal import TrialJournal
from dpod_search.search.store.opening import find_file
from dpod_search.search.store.opening import load_or_create_study
from dpod_search.search.store.opening import open_existing
from dpod_search.search.store.opening import open_storage
from dpod_search.search.store.urls import check_lasting
from dpod_search.search.store.urls import check_url
from dpod_search.search.store.urls import describe_complaint
from dpod_search.search.store.urls import hide_password
from dpod_search.search.store.urls import hide_secrets
from dpod_search.search.store.urls import is_url
from dpod_search.search.store.urls import leave_out_secrets


__all__ = [
    "POLL_SECONDS",
    "BatchJournalStorage",
    "KernelLock",
    "TrialJournal",
    "check_lasting",
    "check_url",
    "describe_complaint",
    "find_file",
    "hide_password",
    "hide_secrets",
    "is_url",
    "leave_out_secrets",
    "load_or_create_study",
    "open_existing",
    "open_storage",
    "telling_database_errors",
]
