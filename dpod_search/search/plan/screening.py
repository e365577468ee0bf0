"""Screening: offspring meet the surrogate before a trial is spent on them.

Generations of NSGA-II are run on what the surrogate predicts and what footprints are known to
be; from all subnets met on the way those are chosen that together promise the most hypervolume.

References:
    Deb, Pratap, Agarwal, Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II, 2002, doi 10.1109/4235.996017.
    Lu, Deb, Goodman, Banzhaf, Boddeti: NSGANetV2, 2020, arXiv 2007.10396 (an inner NSGA-II on a
    surrogate that is learned as the search goes on).
    Emmerich, Giannakoglou, Naujoks: Single- and Multiobjective Evolutionary Optimization
    Assisted by Gaussian Random Field Metamodels, 2006 (expected hypervolume improvement).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpod_search.pareto import FloatArray
from dpod_search.search.plan.improvement import make_outcomes
from dpod_search.search.plan.improvement import make_volume
from dpod_search.search.plan.improvement import pick_points
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.surrogate import Surrogate
from dpod_search.search.plan.variation import breed
from dpod_search.search.plan.variation import select_best
from dpod_search.search.task import SearchTask
from dpod_search.widths import IntArray


# Parents of inner generations are hoped to be so many standard deviations better than expected.
OPTIMISM = 0.5
N_GENERATIONS = 12
N_CHILDREN = 160
# The reference point lies this share of the range of an objective beyond its worst value.
REFERENCE_MARGIN = 0.01


@dataclass(frozen=True)
class Known:
    """Subnets whose objectives are known, or hoped for.

    Args:
        rungs: Shape (n, n_groups).
        points: Objectives as :class:`ObjectiveAxes` has them, shape (n, m).
        penalties: By how much constraints are violated, shape (n,); 0 is feasible.
    """

    rungs: IntArray
    points: FloatArray
    penalties: FloatArray

    def select(self, indices: IntArray) -> Known:
        """Return some of them."""
        return Known(self.rungs[indices], self.points[indices], self.penalties[indices])

    @staticmethod
    def join(parts: Sequence[Known]) -> Known:
        """Return all of them."""
        return Known(
            np.concatenate([part.rungs for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.penalties for part in parts]),
        )


@dataclass(frozen=True)
class _Met(Known):
    """Subnets met on the way: points are what is hoped for, and then what is expected.

    ``expected`` is (n, m), ``outcomes`` what they may turn out to be, (n_outcomes, n, m).
    """

    expected: FloatArray
    outcomes: FloatArray

    def only(self, mask: npt.NDArray[np.bool_]) -> _Met:
        """Return those that are marked."""
        return _Met(
            self.rungs[mask],
            self.points[mask],
            self.penalties[mask],
            self.expected[mask],
            self.outcomes[:, mask],
        )

    @staticmethod
    def gather(parts: Sequence[_Met], elite: Known, n_outcomes: int) -> _Met:
        nothing = elite.select(np.empty(0, dtype=np.int64))
        known = Known.join([nothing, *parts])
        none = np.broadcast_to(nothing.points, (n_outcomes, *nothing.points.shape))
        return _Met(
            known.rungs,
            known.points,
            known.penalties,
            np.concatenate([nothing.points, *(part.expected for part in parts)]),
            np.concatenate([none, *(part.outcomes for part in parts)], axis=1),
        )


class ObjectiveAxes:
    """The scales that hypervolume is measured on: minimised, and costs by their logarithm.

    From a tenth of the macs to a fifth is as far as from a half to all of them.

    Args:
        task: The task; an exact objective that is minimised and positive is a cost.

    Attributes:
        is_log: Whether it is one, for each objective; shape (m,).
    """

    def __init__(self, task: SearchTask) -> None:
        ends = [task.measure_footprint(w) for w in (task.space.smallest, task.space.full)]
        self._signs = np.array([-1.0 if d == "maximize" else 1.0 for d in task.directions])
        self.is_log = np.array(
            [
                not o.is_measured
                and o.direction == "minimize"
                and all(end[o.name] > 0 for end in ends)
                for o in task.objectives
            ]
        )

    def place(self, values: FloatArray) -> FloatArray:
        """Return objective values, shape (..., m), on these scales."""
        minimized = self._signs * values
        logs = np.log2(np.where(self.is_log, np.maximum(minimized, 1e-12), 1.0))
        return np.where(self.is_log, logs, minimized)


class Screen:
    """Finds the subnets that are worth a trial.

    Args:
        task: The task.
        lattice: Its subnets.
        axes: Its scales.
    """

    def __init__(self, task: SearchTask, lattice: Lattice, axes: ObjectiveAxes) -> None:
        self._task = task
        self._lattice = lattice
        self._axes = axes
        self._nodes, self._weights = make_outcomes(len(task.measured))

    def choose(
        self,
        elite: Known,
        front: FloatArray,
        surrogate: Surrogate | None,
        *,
        n: int,
        is_new: Callable[[IntArray], bool],
        rng: np.random.Generator,
    ) -> list[IntArray]:
        """Choose subnets to evaluate next.

        Args:
            elite: The best evaluated subnets, where the inner generations begin.
            front: Objective values of the feasible ones, or of their front; shape (k, m).
            surrogate: What is known of measured objectives; None if there are none.
            n: How many subnets to choose.
            is_new: Says of rung indices whether they have not been tried.
            rng: Source of every choice.

        Returns:
            Rung indices of at most n different subnets, the most promising first.
        """
        met = self._evolve(elite, surrogate, rng)
        # A user's own footprint may have no value: such a subnet is not for the screen.
        met = met.only(np.isfinite(met.penalties))
        feasible = met.only(met.penalties <= 0)
        if not len(feasible.rungs):
            # Bounds on measured objectives that nothing is hoped to meet yet: go towards them.
            nearest = np.argsort(met.penalties, kind="stable")
            return [met.rungs[i] for i in nearest if is_new(met.rungs[i])][:n]
        front = self._axes.place(front)
        known = np.vstack([elite.points, front, feasible.points])
        low, high = known.min(axis=0), np.vstack([elite.points, front]).max(axis=0)
        # Costs are exact: what costs more than all that was evaluated still counts.
        exact = np.array([not o.is_measured for o in self._task.objectives])
        high = np.where(exact, known.max(axis=0), high)
        reference = high + REFERENCE_MARGIN * (high - low) + 1e-9
        picked = pick_points(
            feasible.outcomes,
            self._weights,
            feasible.expected,
            make_volume(front, reference, low, seed=int(rng.integers(2**31))),
            n=n,
            accept=lambda i: is_new(feasible.rungs[i]),
        )
        return [feasible.rungs[i] for i in picked]

    def _evolve(self, elite: Known, surrogate: Surrogate | None, rng: np.random.Generator) -> _Met:
        """Run the inner generations; return all that was met and not known before."""
        population = elite
        met = []
        seen = {row.tobytes() for row in elite.rungs}
        for _ in range(N_GENERATIONS):
            best = select_best(population.points, population.penalties, len(elite.rungs))
            parents = population.select(best)
            children = breed(parents.rungs, self._lattice.sizes, N_CHILDREN, rng)
            children = np.unique(self._lattice.canonicalize(children), axis=0)
            fresh = np.array([row.tobytes() not in seen for row in children], dtype=bool)
            children = children[fresh]
            children = children[self._lattice.are_feasible(children)]
            if not len(children):
                continue
            seen.update(row.tobytes() for row in children)
            met.append(self._meet(children, surrogate))
            population = Known.join([parents, met[-1]])
        return _Met.gather(met, elite, len(self._weights))

    def _meet(self, rungs: IntArray, surrogate: Surrogate | None) -> _Met:
        footprints = self._lattice.measure(rungs)
        prediction = surrogate.predict_rungs(rungs, footprints) if surrogate else None
        objectives = self._task.objectives
        exact = [0.0 if o.is_measured else footprints[o.name] for o in objectives]
        values = np.column_stack([np.broadcast_to(e, len(rungs)) for e in exact])
        columns = [i for i, o in enumerate(objectives) if o.is_measured]

        # What is hoped for, what is expected, and then all that may be.
        n_levels = 2 + len(self._nodes)
        found = np.broadcast_to(values, (n_levels, *values.shape)).copy()
        if prediction is not None:
            hope = np.full((1, len(columns)), OPTIMISM)
            levels = np.vstack([hope, np.zeros_like(hope), self._nodes])
            found[:, :, columns] = prediction.better(levels)
        placed = self._axes.place(found)
        return _Met(rungs, placed[0], self._penalize(found[0]), placed[1], placed[2:])

    def _penalize(self, hoped: FloatArray) -> FloatArray:
        names = [objective.name for objective in self._task.objectives]
        penalties = np.zeros(len(hoped))
        for bound in self._task.bounds.measured:
            if bound.limit is not None:
                excess = bound.measure_violation(hoped[:, names.index(bound.name)])
                penalties += np.maximum(excess, 0)
        return np.where(np.isfinite(hoped).all(axis=1), penalties, np.inf)
