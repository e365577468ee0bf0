"""A study's trials, sorted for a sampler, each looked at once after it has finished.

Optuna's own genetic samplers walk over all trials several times for every new one; at ten
thousand trials that walk is most of what they cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.search.tables import open_table
from dpod_search.search.trial_table import TrialTable


Vector = tuple[Any, ...]


class TrialLedger:
    """Generations and parameters of one study's trials.

    Args:
        generation_key: System attribute in which a trial carries its generation.
    """

    def __init__(self, generation_key: str) -> None:
        self._generation_key = generation_key
        self._storage: object = None
        self._study_id = -1
        self._table: TrialTable | None = None
        self._reset()

    def _reset(self) -> None:
        self.completed: defaultdict[int, list[FrozenTrial]] = defaultdict(list)
        self.parents: dict[int, list[FrozenTrial]] = {}
        self._params: list[dict[str, Any]] = []
        self._vectors: dict[tuple[str, ...], tuple[int, set[Vector]]] = {}
        self._unfinished: list[FrozenTrial] = []

    def refresh(self, study: optuna.Study) -> None:
        """Take in the trials that have been made or finished since the last call."""
        same = study._storage is self._storage and study._study_id == self._study_id
        if self._table is None or not same:
            self._storage, self._study_id = study._storage, study._study_id
            self._table = open_table(study)
            self._reset()
        fresh = self._table.read()
        self._unfinished = [trial for trial in fresh if not trial.state.is_finished()]
        for trial in fresh:
            if trial.state.is_finished():
                self._absorb(trial)

    def find_generation(self, population_size: int) -> int:
        """Return the generation a new trial belongs to, as Optuna counts them."""
        last = max(self.completed, default=0)
        return last if len(self.completed.get(last, ())) < population_size else last + 1

    def collect_vectors(self, names: Sequence[str], before: int) -> set[Vector]:
        """Return the parameter vectors of the finished trials, and of earlier running ones.

        Args:
            names: The parameters, in the order of the vectors.
            before: Running trials count if their number is below this.

        Returns:
            Vectors of parameter values; a trial without one of the parameters has None there.
        """
        key = tuple(names)
        n_known, vectors = self._vectors.get(key, (0, set()))
        vectors.update(_pick(params, key) for params in self._params[n_known:])
        self._vectors[key] = (len(self._params), vectors)
        running = {_pick(t.params, key) for t in self._unfinished if t.number < before}
        return vectors | running if running else vectors

    def _absorb(self, trial: FrozenTrial) -> None:
        self._params.append(trial.params)
        if trial.state == TrialState.COMPLETE:
            generation = trial.system_attrs.get(self._generation_key)
            if generation is not None:
                self.completed[generation].append(trial)


def _pick(params: dict[str, Any], names: tuple[str, ...]) -> Vector:
    return tuple(params.get(name) for name in names)
