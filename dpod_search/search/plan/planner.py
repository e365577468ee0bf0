"""What to try next: the core of the search, in NumPy, without a study in sight.

The first subnets are scattered. From then on the surrogate is fitted anew whenever enough has
been evaluated, and each time a plan is made: subnets in the order in which they promise to
improve the front. A share of the trials is not screened: they keep the surrogate honest, and
tell how often it is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpod_search.rng import numpy_generator
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.plan.history import is_audit
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.screening import Known
from dpod_search.search.plan.screening import ObjectiveAxes
from dpod_search.search.plan.screening import Screen
from dpod_search.search.plan.surrogate import SurrogateFitter
from dpod_search.search.plan.variation import breed
from dpod_search.search.plan.variation import find_new
from dpod_search.search.plan.variation import scatter
from dpod_search.search.plan.variation import select_best
from dpod_search.search.settings import SearchSettings
from dpod_search.search.task import SearchTask
from dpod_search.widths import IntArray
from dpod_search.widths import Widths


@dataclass(frozen=True)
class _Plan:
    history: History
    n_measured: int
    elite: Known
    chosen: list[Widths]
    n_wanted: int


class Planner:
    """Proposes widths, one trial after the other.

    What it proposes follows from the seed of the task, the number of the trial and the history
    alone, whatever it has been asked before.

    Args:
        task: The task of the study.
        settings: How it is searched.
        fitter: The study's surrogate; made if it is missing.
    """

    def __init__(
        self, task: SearchTask, settings: SearchSettings, fitter: SurrogateFitter | None = None
    ) -> None:
        self.task = task
        self._settings = settings
        self.fitter = fitter or SurrogateFitter(task, settings)
        self._lattice = Lattice(task)
        self._axes = ObjectiveAxes(task)
        self._screen = Screen(task, self._lattice, self._axes)
        self._plan: _Plan | None = None

    def propose(self, number: int, history: History) -> Widths:
        """Return the widths of a trial.

        Args:
            number: The trial's number.
            history: The trials that are finished or in flight.

        Returns:
            Widths within the exact constraints that no trial of the history has, as long as
            there are any. Of a removed block's inner groups they say nothing: those are at
            their narrowest.
        """
        rng = numpy_generator(self.task.seed, "sampler", number)
        n = self.fitter.find_refit(len(history.measured))
        if n is None:
            return self._draw(None, history, rng)
        plan = self._make_plan(n, history)
        if self._is_screened and not is_audit(self.task.seed, number, self._settings):
            for widths in self._list_chosen(plan, history):
                if not history.is_tried(widths):
                    return widths
        return self._draw(plan.elite, history, rng)

    @property
    def _is_screened(self) -> bool:
        # Without measured objectives all is known, and nothing has to be learned.
        return self._settings.surrogate or not self.task.measured

    def _draw(self, elite: Known | None, history: History, rng: np.random.Generator) -> Widths:
        sizes = self._lattice.sizes

        def draw() -> IntArray:
            if elite is None:
                drawn = scatter(sizes, rng)[None]
            else:
                drawn = breed(elite.rungs, sizes, 1, rng)
            return np.asarray(self._lattice.canonicalize(drawn)[0])

        found = find_new(
            draw,
            sizes,
            lambda rungs: self._is_new(rungs, history),
            lambda rungs: self.task.is_feasible(self._lattice.to_widths(rungs)),
            rng,
        )
        return self._lattice.to_widths(self._lattice.canonicalize(found[None])[0])

    def _is_new(self, rungs: IntArray, history: History) -> bool:
        return not history.is_tried(self._lattice.to_widths(rungs))

    def _make_plan(self, n: int, history: History) -> _Plan:
        plan = self._plan
        if plan is None or plan.history is not history or plan.n_measured != n:
            elite = self._find_elite(history.measured[:n])
            n_wanted = self.fitter.find_next(n) - n + 8
            chosen: list[Widths] = []
            if self._is_screened:
                chosen = self._choose(n, elite, history, n_wanted)
            plan = self._plan = _Plan(history, n, elite, chosen, n_wanted)
        return plan

    def _list_chosen(self, plan: _Plan, history: History) -> Iterator[Widths]:
        yield from plan.chosen
        # Some are not used: other workers are at them, or their trials fail. Of more that are
        # wanted the first are the same, so it does not matter when the plan was made.
        while len(plan.chosen) == plan.n_wanted:
            n, n_wanted = plan.n_measured, 2 * plan.n_wanted
            chosen = self._choose(n, plan.elite, history, n_wanted)
            more = chosen[plan.n_wanted :]
            plan = self._plan = _Plan(history, n, plan.elite, chosen, n_wanted)
            yield from more

    def _choose(self, n: int, elite: Known, history: History, n_wanted: int) -> list[Widths]:
        trials = history.measured[:n]
        feasible = [trial for trial in trials if trial.violation <= 0]
        known = {trial.widths for trial in trials}
        surrogate = self.fitter.find_surrogate(history)
        chosen = self._screen.choose(
            elite,
            np.reshape([t.values for t in feasible if t.values], (-1, len(self.task.objectives))),
            surrogate,
            # What has been tried since is passed over when it is asked for, so that the plan
            # stays the same.
            n=n_wanted,
            is_new=lambda rungs: self._lattice.to_widths(rungs) not in known,
            rng=numpy_generator(self.task.seed, "plan", n),
        )
        widths = [self._lattice.to_widths(rungs) for rungs in chosen]
        if surrogate is not None:
            # The gate will want to know, and asking for all at once is cheaper.
            surrogate.prepare(widths)
        return widths

    def _find_elite(self, trials: Sequence[FinishedTrial]) -> Known:
        points = self._axes.place(np.array([trial.values for trial in trials if trial.values]))
        penalties = np.array([max(0.0, trial.violation) for trial in trials])
        best = select_best(points, penalties, 2 * self._settings.population_size)
        rungs = self._lattice.from_widths([trials[i].widths for i in best])
        return Known(rungs, points[best], penalties[best])
