"""The trials of a study in its storage: each read once, and written whole.

Optuna's public ways cost more with every trial that a study has (all trials are listed for
each look) or every parameter (each is a write of its own). What has to go past them, storage by
storage, does so here and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.search.store import BatchJournalStorage
from dpod_search.search.store.optuna_internals import find_last_made
from dpod_search.search.store.optuna_internals import has_ended
from dpod_search.search.store.optuna_internals import list_in_memory
from dpod_search.search.store.optuna_internals import replay
from dpod_search.search.store.optuna_internals import trial_id_of


@dataclass(frozen=True)
class Change:
    """What is to be written of a trial that the storage has already.

    Args:
        user: User attributes.
        system: System attributes.
        params: Parameters that are not there yet.
        distributions: Theirs.
        state: Its final state, or None if it goes on.
        values: Its objective values if it completed.
    """

    user: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    state: TrialState | None = None
    values: Sequence[float] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.user or self.system or self.params or self.state)


class TrialTable:
    """Trials of one study; of a storage that nothing more is known of.

    Args:
        storage: The storage.
        study_id: The study's id in it.
    """

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        self._n_read = 0
        self._unfinished: dict[int, int] = {}

    @property
    def n_read(self) -> int:
        """Number of trials that have been read or made here; they are 0 to this less one."""
        return self._n_read

    @property
    def writes_batches(self) -> bool:
        """Whether several trials are written for the price of one."""
        return False

    def read(self) -> list[FrozenTrial]:
        """Return the trials that were new or not finished when they were read last.

        Returns:
            By number. Those that :meth:`create` made are left out, whatever their state.
        """
        fresh = self._fetch()
        for trial in fresh:
            if trial.state.is_finished():
                self._unfinished.pop(trial.number, None)
            else:
                self._unfinished[trial.number] = trial_id_of(trial)
            self._n_read = max(self._n_read, trial.number + 1)
        return fresh

    def create(self, trials: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
        """Write new trials whole; return the number and the id that each was given."""
        made = self._create(trials)
        for number, _ in made:
            if number == self._n_read:  # else somebody was quicker, and it has to be read
                self._n_read += 1
        return made

    def update(self, trial_id: int, change: Change) -> None:
        """Write changes of a trial, its state last."""
        storage = self._storage
        for name, value in change.params.items():
            distribution = change.distributions[name]
            internal = distribution.to_internal_repr(value)
            storage.set_trial_param(trial_id, name, internal, distribution)
        for key, value in change.user.items():
            storage.set_trial_user_attr(trial_id, key, value)
        for key, value in change.system.items():
            storage.set_trial_system_attr(trial_id, key, value)
        if change.state is not None:
            storage.set_trial_state_values(trial_id, change.state, change.values)

    def claim(self, trial_id: int) -> bool:
        """Turn a waiting trial into a running one; say whether nobody was quicker."""
        return self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)

    def _fetch(self) -> list[FrozenTrial]:
        return self._pick(self._storage.get_all_trials(self._study_id, deepcopy=False))

    def _pick(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return [trials[number] for number in self._find_fresh(len(trials))]

    def _find_fresh(self, n_trials: int) -> Iterable[int]:
        return [*self._unfinished, *range(self._n_read, n_trials)]

    def _create(self, trials: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
        ids = [self._storage.create_new_trial(self._study_id, trial) for trial in trials]
        return [(self._storage.get_trial_number_from_id(made), made) for made in ids]


class MemoryTable(TrialTable):
    """Trials in memory: the storage's own list is looked at."""

    def _fetch(self) -> list[FrozenTrial]:
        assert isinstance(self._storage, InMemoryStorage)
        return self._pick(list_in_memory(self._storage, self._study_id))


class JournalTable(TrialTable):
    """Trials of a journal: what is behind the last one read, from what has been replayed."""

    @property
    def writes_batches(self) -> bool:
        """Whether several trials are written for the price of one."""
        return isinstance(self._storage, BatchJournalStorage)

    def update(self, trial_id: int, change: Change) -> None:
        """Write changes of a trial at once; none if it has ended, for they would stay for ever."""
        storage = self._storage
        assert isinstance(storage, JournalStorage)
        if has_ended(storage, trial_id):
            raise UpdateFinishedTrialError(f"the trial with id {trial_id} has ended before")
        with self._together():
            super().update(trial_id, change)

    def _fetch(self) -> list[FrozenTrial]:
        storage = self._storage
        assert isinstance(storage, JournalStorage)
        return replay(storage, self._study_id, self._find_fresh)

    def _create(self, trials: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
        storage = self._storage
        assert isinstance(storage, JournalStorage)
        if not self.writes_batches:
            return super()._create(trials)
        with self._together():
            for trial in trials:
                storage.create_new_trial(self._study_id, trial)
        # They were appended in one piece, so they have consecutive numbers, and ids.
        last, last_id = find_last_made(storage)
        return [(last - i, last_id - i) for i in reversed(range(len(trials)))]

    def _together(self) -> Any:
        storage = self._storage
        return storage.together() if isinstance(storage, BatchJournalStorage) else nullcontext()


class Generations:
    """How many trials of each generation have completed."""

    def __init__(self) -> None:
        self._completed: Counter[int] = Counter()

    def note_completed(self, generation: int) -> None:
        """Count a trial that has completed."""
        self._completed[generation] += 1

    def find_current(self, population_size: int) -> int:
        """Return the generation that a new trial belongs to."""
        last = max(self._completed, default=0)
        return last if self._completed[last] < population_size else last + 1
