"""A study's books: what its storage tells of all workers, and what this one writes."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.store import attributes
from dpod_search.search.store.database_table import open_table
from dpod_search.search.store.optuna_internals import GENERATION
from dpod_search.search.store.optuna_internals import give_id
from dpod_search.search.store.optuna_internals import read_stored
from dpod_search.search.store.optuna_internals import trial_id_of
from dpod_search.search.store.signatures import check_trial
from dpod_search.search.store.signatures import sign_trial
from dpod_search.search.store.space import has_widths
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.search.store.space import widths_of
from dpod_search.search.store.trial_table import Generations
from dpod_search.search.task import SearchTask
from dpod_search.search.worker.draft import Draft


class Books:
    """All trials of a study, as one worker knows them; used under the study's lock.

    Args:
        study: The study.
        task: What it is about.
        worker: Id of the worker; it stands in the trials that it has begun.
    """

    def __init__(self, study: optuna.Study, task: SearchTask, worker: str) -> None:
        self._study = study
        self._task = task
        self._worker = worker
        self._distributions = make_distributions(task.space)
        self._pending: list[Draft] = []
        self._own: set[int] = set()
        self._open()

    def _open(self) -> None:
        self._table = open_table(self._study)
        self._finished: set[int] = set()
        self.generations = Generations()
        self._waiting: dict[int, FrozenTrial] = {}
        self._running: dict[int, FrozenTrial] = {}
        self.history = History(self._task.directions)

    @property
    def next_number(self) -> int:
        """The number that the next new trial will have."""
        return self._table.n_read + len(self._pending)

    @property
    def n_pending(self) -> int:
        """Number of finished trials that are not written yet."""
        return len(self._pending)

    @property
    def is_buffered(self) -> bool:
        """Whether it pays to write several finished trials at once."""
        return self._table.writes_batches

    @property
    def waiting(self) -> FrozenTrial | None:
        """The first trial that somebody put in the queue."""
        return next(iter(self._waiting.values()), None)

    @property
    def running(self) -> Mapping[int, FrozenTrial]:
        """Trials that others have begun, by number."""
        return self._running

    def find_orphan(self, live: Collection[str]) -> FrozenTrial | None:
        """Return a trial whose worker has died, if there is one.

        Args:
            live: Ids of the workers that are alive.
        """
        # A trial without a worker was left by one that died before it could name itself, for
        # trials are begun under the lock; or by version 0.1, which did not.
        orphans = (
            trial
            for trial in self._running.values()
            if trial.system_attrs.get(attributes.WORKER) not in live
        )
        return next(orphans, None)

    def refresh(self) -> int:
        """Take in what others have written; return how many trials they have finished."""
        n_before = self.history.n_finished
        for trial in self._table.read():
            self._take_in(trial)
        return self.history.n_finished - n_before

    def note_own(self, number: int) -> None:
        """Note that a trial in the storage is this worker's."""
        self._own.add(number)

    def claim(self, trial: FrozenTrial) -> bool:
        """Take a trial out of the queue; say whether nobody was quicker."""
        self._waiting.pop(trial.number)
        if not self._table.claim(trial_id_of(trial)):
            return False
        self._own.add(trial.number)
        return True

    def adopt(self, trial: FrozenTrial) -> None:
        """Make another worker's trial this worker's."""
        del self._running[trial.number]
        self._own.add(trial.number)

    def start(self, draft: Draft) -> None:
        """Write a trial that is about to be evaluated, with this worker's id."""
        draft.system[attributes.WORKER] = self._worker
        params = params_of(draft.widths, self._task.space)
        if draft.stored is None:
            frozen = draft.freeze(params, self._distributions)
            draft.number, trial_id = self._table.create([frozen])[0]
            give_id(frozen, trial_id)
            draft.stored = frozen
        else:
            self._update(draft)
            draft.stored.user_attrs = dict(draft.user)
            draft.stored.system_attrs = dict(draft.system)
            draft.stored.params = {**params, **draft.stored.params}
        self._own.add(draft.number)
        self.history.start(draft.number, draft.widths)

    def finish(self, draft: Draft) -> bool:
        """Enter a trial that has ended; a new one may wait to be written with others.

        Returns:
            False if another program has ended it meanwhile, which it stays as.
        """
        assert draft.state.is_finished()
        self._sign(draft)
        try:
            self._write_end(draft)
        except UpdateFinishedTrialError:
            assert draft.stored is not None
            self._take_in(read_stored(self._study, draft.stored))
            return False
        self._add(_finish(draft, self._task), draft.system.get(GENERATION))
        if not self.is_buffered:
            self.flush()
        return True

    def _write_end(self, draft: Draft) -> None:
        if draft.stored is None:
            self._pending.append(draft)
        elif draft.asked is None:
            self._update(draft)
        else:
            end, draft.state = draft.state, TrialState.RUNNING
            self._update(draft)
            # The sampler may want to know.
            self._study.tell(draft.asked, draft.values, end)
            draft.state = end

    def flush(self) -> None:
        """Write the finished trials that are waiting for it."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        expected = self._table.n_read
        frozen = [
            draft.freeze(params_of(draft.widths, self._task.space), self._distributions)
            for draft in pending
        ]
        made = self._table.create(frozen)
        if made[0][0] != expected:
            # Somebody has put a trial in the queue just now; it has our first one's number.
            self._open()
            self.refresh()

    def _take_in(self, trial: FrozenTrial) -> None:
        number = trial.number
        if trial.state == TrialState.WAITING:
            self._waiting[number] = trial
            return
        self._waiting.pop(number, None)
        self._running.pop(number, None)
        if number in self._finished:
            return
        check_trial(trial)
        if trial.state.is_finished() and not has_widths(trial, self._task.space):
            self._finished.add(number)  # nothing can be learned from it
        elif trial.state.is_finished():
            self._add(_read(trial, self._task), trial.system_attrs.get(GENERATION))
        elif number not in self._own:
            self._running[number] = trial
            if trial.params.keys() >= self._distributions.keys():
                self.history.start(number, widths_of(trial, self._task.space))

    def _update(self, draft: Draft) -> None:
        assert draft.stored is not None
        params = params_of(draft.widths, self._task.space)
        change = draft.find_change(params, self._distributions)
        self._table.update(trial_id_of(draft.stored), change)

    def _sign(self, draft: Draft) -> None:
        known = {} if draft.stored is None else draft.stored.params
        params = {**params_of(draft.widths, self._task.space), **known}
        draft.system[attributes.SIGNATURE] = sign_trial(
            draft.number,
            draft.state,
            params=params,
            values=draft.values,
            user=draft.user,
            system=draft.system,
        )

    def _add(self, trial: FinishedTrial, generation: int | None) -> None:
        self._finished.add(trial.number)
        self._own.discard(trial.number)
        if trial.values is not None and generation is not None:
            self.generations.note_completed(generation)
        self.history.add(trial)


def _read(trial: FrozenTrial, task: SearchTask) -> FinishedTrial:
    """Return what later decisions depend on, of a trial in the storage."""
    values = tuple(trial.values) if trial.state == TrialState.COMPLETE else None
    widths = widths_of(trial, task.space)
    draft = Draft(trial.number, widths, trial.user_attrs, trial.system_attrs, values=values)
    return _finish(draft, task)


def _finish(draft: Draft, task: SearchTask) -> FinishedTrial:
    """Return what later decisions depend on, of this worker's own."""
    violations = draft.system.get(attributes.VIOLATIONS, ())
    return FinishedTrial(
        draft.number,
        draft.widths,
        draft.user.get(attributes.FATE, "failed"),
        task.measure_footprint(draft.widths),
        draft.values,
        attributes.read_predictions(draft.user, (o.name for o in task.measured)),
        sum(max(0.0, violation) for violation in violations),
    )
