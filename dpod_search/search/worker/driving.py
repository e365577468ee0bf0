"""The driver: one worker of a study, from its first trial to the end of the search.

A worker that is alone holds the study's lock while it works, and writes a generation of
finished trials at a time. With others it holds the lock only to choose and to write, and what
it evaluates stands in the storage as a running trial with its name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from dpod_search.callbacks import Callbacks
from dpod_search.errors import ConfigError
from dpod_search.progress import Progress
from dpod_search.search.plan.planner import Planner
from dpod_search.search.plan.screening import ObjectiveAxes
from dpod_search.search.seeds import Proposal
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import attributes
from dpod_search.search.store.optuna_internals import ENQUEUED
from dpod_search.search.store.optuna_internals import GENERATION
from dpod_search.search.store.optuna_internals import read_stored
from dpod_search.search.store.optuna_internals import reopen_trial
from dpod_search.search.store.optuna_internals import trial_id_of
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.search.store.space import suggest_widths
from dpod_search.search.store.space import widths_from_params
from dpod_search.search.task import SearchTask
from dpod_search.search.worker.bookkeeping import Books
from dpod_search.search.worker.crew import Crew
from dpod_search.search.worker.draft import Draft
from dpod_search.search.worker.running import TrialRunner
from dpod_search.search.worker.stopping import SearchClock
from dpod_search.search.worker.stopping import StoppingRule
from dpod_search.search.worker.stopping import VolumeTrace


WRITE_SECONDS = 1.0  # a worker that is alone loses at most this, and others wait no longer
WAIT_SECONDS = 0.02
MAX_WAIT_SECONDS = 0.5
TRIALS_PER_WORKER = 4  # of a generation, or most children come too late to become parents

_logger = logging.getLogger(__name__)


class Driver:
    """One worker at a study.

    Args:
        study: The study.
        task: What it is about.
        settings: How it is searched.
        seeds: Subnets to try first.
        crew: The workers of the study.
        progress: Told of every finished trial, whoever finished it.
        callbacks: Told of every trial that this worker finishes.
        is_shared: Others are expected: no trial is held back to be written with more.
    """

    def __init__(
        self,
        study: optuna.Study,
        task: SearchTask,
        settings: SearchSettings,
        *,
        seeds: Sequence[Proposal],
        crew: Crew,
        progress: Progress,
        callbacks: Callbacks | None = None,
        is_shared: bool = False,
    ) -> None:
        self._study = study
        self._task = task
        self._settings = settings
        self._seeds = list(reversed(seeds))
        self._crew = crew
        self._progress = progress
        self._callbacks = callbacks or Callbacks()
        self._stopping = StoppingRule.of(settings)
        self._books = Books(study, task, crew.me)
        self._clock = SearchClock(study)
        self._volumes = VolumeTrace(ObjectiveAxes(task).is_log.tolist())
        # Other samplers than our own choose through Optuna.
        planner: Planner | None = getattr(study.sampler, "planner", None)
        # The task may have learned since what its percentages are of.
        is_other = planner is not None and planner.task is not task
        self._planner = Planner(task, settings) if is_other else planner
        fitter = self._planner.fitter if self._planner else None
        self._runner = TrialRunner(task, settings, fitter)
        self._held: list[Draft] = []
        self._live = frozenset([crew.me])
        self._is_slow = False
        self._is_shared = is_shared
        self._wait = WAIT_SECONDS
        self._n_done = 0

    def drive(self) -> str:
        """Work until the study's search ends and every trial has ended.

        Returns:
            What ended the search, in words.
        """
        with self._crew.lock():
            self._books.refresh()
        self._progress.start("search", self._settings.n_trials, self._books.history.n_finished)
        try:
            reason = None
            while reason is None:
                reason = self._work_alone() if self._is_alone() else self._work_among_others()
        finally:
            self._progress.finish()
        if self._n_done:
            with self._crew.lock():
                self._clock.tick(is_last=True)
        _logger.info("the search ends: %s", reason)
        return reason

    def _is_alone(self) -> bool:
        # Whoever evaluates for long would keep others waiting at the lock.
        is_free = self._planner is not None and not self._held and not self._is_slow
        return is_free and not self._is_shared and self._live == {self._crew.me}

    def _work_alone(self) -> str | None:
        books = self._books
        with self._crew.lock():
            self._look()
            start = time.monotonic()
            try:
                while self._is_alone() and time.monotonic() - start < WRITE_SECONDS:
                    choice = self._choose()
                    if not isinstance(choice, Draft):
                        return choice
                    if self._runner.decide(choice, books.history):
                        self._conclude(choice, self._evaluate(choice))
                    self._finish(choice)
                    if books.n_pending >= self._settings.population_size:
                        break
            finally:
                books.flush()
        return None

    def _work_among_others(self) -> str | None:
        with self._crew.lock():
            self._look()
            choice = self._choose()
            if isinstance(choice, str):
                return choice
            if choice is not None:
                if not self._runner.decide(choice, self._books.history):
                    self._finish(choice)
                    self._books.flush()  # else the next worker gives its number to another
                    return None
                self._books.start(choice)
                if self._is_elsewhere(choice):
                    self._held.append(choice)
                    return None
        if choice is None:
            self._rest()
            return None
        measured = self._evaluate(choice)
        with self._crew.lock():
            self._look()
            self._conclude(choice, measured)
            self._finish(choice)
        return None

    def _look(self) -> None:
        """See what the others have done, and then who they are."""
        n_new = self._books.refresh()
        if n_new:
            self._progress.advance(n_new)
        # A worker appears here before it begins a trial, hence this order: else a trial that is
        # new could pass for one of a dead worker.
        self._live = self._crew.find_live()
        if self._n_done:
            self._clock.tick()

    def _choose(self) -> Draft | str | None:
        """Return a trial to run, or why the search ends, or None if others must finish first."""
        orphan = self._books.find_orphan(self._live)
        if orphan is not None:
            self._books.adopt(orphan)
            return self._resume(orphan)
        for draft in self._held:
            if not self._is_elsewhere(draft):
                self._held.remove(draft)
                return draft
        n_busy = len(self._books.running) + len(self._held)
        reason = self._find_end(0)
        if reason is not None and not n_busy:
            return reason
        if reason is not None or self._find_end(n_busy) is not None:
            return None
        waiting = self._books.waiting
        if waiting is not None and self._books.claim(waiting):
            return self._resume(waiting)
        return self._begin()

    def _find_end(self, n_busy: int) -> str | None:
        history = self._books.history
        return self._stopping.find_end(
            n_finished=history.n_finished + n_busy,
            n_evaluated=len(history.measured) + n_busy,
            seconds=self._clock.seconds,
            hypervolumes=self._volumes.extend(history) if self._stopping.stall else (),
        )

    def _begin(self) -> Draft:
        books = self._books
        seed = self._find_seed()
        if seed is not None:
            source = {attributes.SOURCE: seed.source}
            return self._place(Draft(books.next_number, seed.widths, source))
        if self._planner is None:
            return self._ask(self._study.ask())
        number = books.next_number
        return self._place(Draft(number, self._planner.propose(number, books.history)))

    def _find_seed(self) -> Proposal | None:
        while self._seeds:
            seed = self._seeds.pop()
            # Another worker may have been quicker.
            if not self._books.history.is_tried(seed.widths):
                return seed
        return None

    def _resume(self, trial: FrozenTrial) -> Draft:
        """Go on with a trial that is in the storage: a dead worker's, or one from the queue."""
        if self._planner is None:
            return self._ask(reopen_trial(self._study, trial_id_of(trial)))
        space = self._task.space
        params = {**trial.system_attrs.get(ENQUEUED, {}), **trial.params}
        known = make_distributions(space)
        # What is enqueued and is no rung is left to the sampler, as Optuna does it.
        rungs = {n: v for n, v in params.items() if n in known and isinstance(v, int)}
        params = {n: v for n, v in rungs.items() if 1 <= v <= known[n].high}
        if params.keys() != known.keys():
            proposed = self._planner.propose(trial.number, self._books.history)
            params = {**params_of(proposed, space), **params}
        widths = space.canonical(widths_from_params(params, space))
        return self._place(Draft(trial.number, widths, stored=trial))

    def _ask(self, trial: Trial) -> Draft:
        """Let the study's sampler choose."""
        self._books.note_own(trial.number)
        try:
            widths = suggest_widths(trial, self._task.space)
        except ConfigError as error:
            # Enqueued by somebody: Optuna warns, and takes it as it is.
            _logger.warning("trial %d fails: %s", trial.number, error)
            self._study.tell(trial, state=TrialState.FAIL)
            return self._ask(self._study.ask())
        stored = read_stored(self._study, trial)
        return Draft(trial.number, widths, stored=stored, asked=trial)

    def _place(self, draft: Draft) -> Draft:
        if self._planner is not None and GENERATION not in draft.system:
            size = self._settings.population_size
            if len(self._live) > 1:
                size = max(size, TRIALS_PER_WORKER * len(self._live))
            draft.system[GENERATION] = self._books.generations.find_current(size)
        return draft

    def _is_elsewhere(self, draft: Draft) -> bool:
        # Of several trials with the same widths the first is evaluated; the others wait for it.
        return any(
            number < draft.number and widths == draft.widths
            for number, widths in self._books.history.in_flight.items()
        )

    def _evaluate(self, draft: Draft) -> Mapping[str, float]:
        measured = self._runner.evaluate(draft)
        self._is_slow = draft.user[attributes.SECONDS] > WRITE_SECONDS
        return measured

    def _conclude(self, draft: Draft, measured: Mapping[str, float]) -> None:
        self._runner.conclude(draft, measured, self._books.history)

    def _finish(self, draft: Draft) -> None:
        if not self._books.finish(draft):
            _logger.warning("trial %d was ended by another program, and stays so", draft.number)
            draft.fate = "failed"
        self._n_done += 1
        self._wait = WAIT_SECONDS
        self._progress.advance(1, draft.fate)
        self._callbacks.on_trial(draft.number, self._name_values(draft), draft.fate)

    def _name_values(self, draft: Draft) -> dict[str, float]:
        names = [objective.name for objective in self._task.objectives]
        values = () if draft.values is None else zip(names, draft.values, strict=True)
        return {**self._task.measure_footprint(draft.widths), **dict(values)}

    def _rest(self) -> None:
        time.sleep(self._wait)
        self._wait = min(2 * self._wait, MAX_WAIT_SECONDS)
