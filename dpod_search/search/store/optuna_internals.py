"""All that this package uses of Optuna, and of its dashboard, though neither promises it.

Each use has its reason here, and a test that fails when the other side changes it. Elsewhere
only what is public of them is used.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

import optuna
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial
from optuna.trial import Trial


if TYPE_CHECKING:
    import numpy as np
    from sqlalchemy import Table

S = TypeVar("S", bound=type[NSGAIISampler])

# Where Optuna keeps the parameters of an enqueued trial. It reads them itself only as it samples.
ENQUEUED = "fixed_params"
# Where a trial carries its generation; the dashboard and Optuna's own sampler read it.
GENERATION = NSGAIISampler._GENERATION_KEY
# What a journal's records say that they do, the three that are looked for.
CREATE_TRIAL = JournalOperation.CREATE_TRIAL
END_TRIAL = JournalOperation.SET_TRIAL_STATE_VALUES
SET_TRIAL_SYSTEM_ATTR = JournalOperation.SET_TRIAL_SYSTEM_ATTR


# Studies and trials. Storages alone know system attributes, and one trial without all others; and
# a study names neither its storage nor its id there.


def storage_of(study: optuna.Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def study_id_of(study: optuna.Study) -> int:
    """Return the id by which a storage knows a study."""
    return study._study_id


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """Return the id by which a storage knows a trial."""
    return trial._trial_id


def give_id(trial: FrozenTrial, trial_id: int) -> None:
    """Let a trial that was made by hand have the id that a storage gave it."""
    trial._trial_id = trial_id


def read_stored(study: optuna.Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """Return one trial as the storage has it; a study lists all of them or none."""
    return study._storage.get_trial(trial._trial_id)


def reopen_trial(study: optuna.Study, trial_id: int) -> Trial:
    """Return a trial of the storage as one that runs; only a study's ``ask`` is meant to."""
    return Trial(study, trial_id)


def read_study_attrs(study: optuna.Study) -> dict[str, Any]:
    """Return a study's system attributes, of which only storages tell."""
    return study._storage.get_study_system_attrs(study._study_id)


def write_study_attr(study: optuna.Study, key: str, value: Any) -> None:
    """Write one of a study's system attributes, which only storages do."""
    study._storage.set_study_system_attr(study._study_id, key, value)


# Samplers. They carry state from trial to trial, which a resumed process does not have.


def use_nsga2_names(sampler: S) -> S:
    """Give a subclass of NSGA-II the attribute names of NSGA-II itself; a class decorator.

    Optuna gives every subclass names of its own. With those of NSGA-II the dashboard and
    Optuna's sampler read what this one has written.
    """
    # They can only be set after the class is made.
    sampler._GENERATION_KEY = NSGAIISampler._GENERATION_KEY
    sampler._PARENT_CACHE_KEY_PREFIX = NSGAIISampler._PARENT_CACHE_KEY_PREFIX
    return sampler


def generation_key_of(sampler: NSGAIISampler) -> str:
    """Return the system attribute in which a sampler's trials carry their generation."""
    return sampler._get_generation_key()


def generator_of(
    sampler: RandomSampler | TPESampler | NSGAIISampler | GPSampler,
) -> np.random.RandomState:
    """Return the generator that a sampler draws from; it can be seeded when it is made alone."""
    return sampler._rng.rng


def draw_alone_with(sampler: TPESampler | NSGAIISampler, other: RandomSampler) -> None:
    """Let a sampler draw single parameters by another; it takes none as an argument."""
    sampler._random_sampler = other


def forget_kernels(sampler: GPSampler) -> None:
    """Let the next fit begin anew; Optuna starts it from the kernels of the last one."""
    sampler._gprs_cache_list = None
    sampler._constraints_gprs_cache_list = None


def read_drawn(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that a Gaussian process has drawn for a trial and left with it."""
    from optuna.samplers._gp.sampler import _get_params

    return _get_params(trial)


# Storages. Optuna's public ways list all trials for each look, and write each parameter alone.


def find_database(storage: BaseStorage) -> RDBStorage | None:
    """Return the database behind a storage; Optuna wraps it in a cache of finished trials."""
    inner = storage._backend if isinstance(storage, _CachedStorage) else storage
    return inner if isinstance(inner, RDBStorage) else None


def list_in_memory(storage: InMemoryStorage, study_id: int) -> Sequence[FrozenTrial]:
    """Return the trials of a study in memory: the storage's own list, which is not copied."""
    return storage._studies[study_id].trials


def read_rows(
    database: RDBStorage, study_id: int, ids: set[int], behind: int
) -> list[FrozenTrial]:
    """Return the trials of some ids, and all with a higher id than ``behind``."""
    return database._get_trials(study_id, None, ids, behind)


def list_tables() -> Mapping[str, Table]:
    """Return the tables that Optuna makes in a database, by name."""
    from optuna.storages._rdb import models

    tables: Mapping[str, Table] = models.BaseModel.metadata.tables
    return tables


def to_stored_value(value: float) -> tuple[float | None, Any]:
    """Return an objective value as a database keeps it, and of which kind it is.

    Databases have no infinity.
    """
    from optuna.storages._rdb import models

    return models.TrialValueModel.value_to_stored_repr(value)


# Journals. Optuna appends one record after the other, and reads each back at once.


def find_journal(storage: BaseStorage) -> Path | None:
    """Return the file of a journal, which Optuna tells nowhere; None of any other storage."""
    backend = storage._backend if isinstance(storage, JournalStorage) else None
    return path_of(backend) if isinstance(backend, JournalFileBackend) else None


def path_of(backend: JournalFileBackend) -> Path:
    """Return the file that a journal's backend writes to."""
    return Path(backend._file_path)


def lock_of(backend: JournalFileBackend) -> BaseJournalFileLock:
    """Return the lock that a journal's backend was given."""
    return backend._lock


def hold(lock: BaseJournalFileLock) -> AbstractContextManager[None]:
    """Hold a journal's lock inside a block."""
    return get_lock_file(lock)


def has_ended(storage: JournalStorage, trial_id: int) -> bool:
    """Say whether a trial has ended, as far as the journal has been replayed."""
    return storage._replay_result._trials[trial_id].state.is_finished()


def replay(
    storage: JournalStorage, study_id: int, choose: Callable[[int], Iterable[int]]
) -> list[FrozenTrial]:
    """Replay what is new in a journal, and return some trials of a study as they are now.

    Args:
        storage: The storage.
        study_id: The study.
        choose: Returns, for how many trials the study has, the numbers of those to return.
    """
    with storage._thread_lock:
        storage._sync_with_backend()
        replayed = storage._replay_result
        ids = replayed._study_id_to_trial_ids[study_id]
        return [replayed._trials[ids[number]] for number in choose(len(ids))]


def find_last_made(storage: JournalStorage) -> tuple[int, int]:
    """Return number and id of the trial that this process has made last."""
    replayed = storage._replay_result
    last_id = replayed._last_created_trial_id_by_this_process
    return replayed._trials[last_id].number, last_id


class JournalLock(BaseJournalFileLock):
    """Base of locks of a journal, which has to be of this class."""


class OpenJournalStorage(JournalStorage):
    """Optuna's journal storage with public names for what it does at each write and each look."""

    def __init__(self, log_storage: BaseJournalBackend) -> None:
        super().__init__(log_storage)
        # Optuna reads this after a trial is created, though it may not be written yet.
        self._replay_result._last_created_trial_id_by_this_process = -1

    @property
    def worker_id(self) -> str:
        """What the records of this process, and thread, are signed with."""
        return self._replay_result.worker_id

    @property
    def n_replayed(self) -> int:
        """Number of records that were replayed."""
        return self._replay_result.log_number_read

    def knows_study(self, study_id: int) -> bool:
        """Say whether a study was ever made, also one that was deleted."""
        return study_id < self._replay_result._next_study_id

    def knows_trial(self, trial_id: int) -> bool:
        """Say whether there is a trial."""
        return trial_id in self._replay_result._trials

    def list_new(self) -> Iterator[dict[str, Any]]:
        """Return the records that were not replayed."""
        return iter(self._backend.read_logs(self.n_replayed))

    def replay_record(self, record: dict[str, Any]) -> None:
        """Replay the next record."""
        self._replay_result.apply_logs([record])

    def append_records(self, records: list[dict[str, Any]]) -> None:
        """Append records in one piece, and replay them."""
        with self._thread_lock:
            self._backend.append_logs(records)
            self.replay_new()

    def write_record(self, record: dict[str, Any]) -> None:
        """Do what is to be done with a record that Optuna wants to be written."""
        self._backend.append_logs([record])

    def replay_new(self) -> None:
        """Replay what is new; called before each look and after each write."""
        super()._sync_with_backend()

    def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
        self.write_record({"op_code": op_code, "worker_id": self.worker_id, **extra_fields})

    def _sync_with_backend(self) -> None:
        self.replay_new()


# The dashboard. It can save figures under a name, and tells in no public way which it has.


def read_dashboard_figures(system_attrs: dict[str, Any]) -> dict[str, str]:
    """Return the figures that a study holds for the dashboard, as JSON by name.

    Args:
        system_attrs: The study's.
    """
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    figures: dict[str, str] = get_plotly_graph_objects(system_attrs)
    return figures
