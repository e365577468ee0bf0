"""A search on a table of networks that were all measured, and how near it comes to their front.

What ``search_table.py`` and ``search_supernet.py`` share: the table, a search on it through
``run_study``, and the scores. A sampler sees widths, footprints, and what was evaluated for it;
nothing lists the table for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dpod_search.errors import DataError
from dpod_search.pareto import FloatArray
from dpod_search.pareto import compute_hypervolume
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchResult
from dpod_search.search import SearchSettings
from dpod_search.search import SearchTask
from dpod_search.search import TrialRecord
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study
from dpod_search.widths import IntArray
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


N_GRID = 2001
TRIALS_FOR_EACH_NETWORK = 25  # a search that needs more, for repeating or pruning, is given up
EVALUATED = frozenset({"evaluated", "audited"})


@dataclass(frozen=True)
class WidthTable:
    """Every network of a space, measured.

    Args:
        channels: Widths, shape (n, n_groups): all combinations of the rungs of each group.
        accuracy: In [0, 1], shape (n,).
        macs: Shape (n,), positive.
        params: Shape (n,).
        noun: What the groups are called, followed by their number.

    Raises:
        DataError: If a combination of widths is missing or is there twice.
    """

    channels: IntArray
    accuracy: FloatArray
    macs: IntArray
    params: IntArray
    noun: str = "layer"
    _rows: dict[tuple[int, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the rows, and check that none is missing."""
        rows = {tuple(map(int, widths)): row for row, widths in enumerate(self.channels)}
        object.__setattr__(self, "_rows", rows)
        if not len(rows) == len(self.channels) == self.space.n_subnets:
            raise DataError(
                f"the table has {len(rows)} different networks in {len(self.channels)} rows, and "
                f"its widths make {self.space.n_subnets}; every combination must be there once"
            )

    @classmethod
    def load(cls, path: Path) -> WidthTable:
        """Read a table from an ``.npz`` file with channels, accuracy (%), macs and params.

        Raises:
            DataError: If the file is not there or is no such table.
        """
        if not path.exists():
            raise DataError(f"there is no table {path}; name one with --table or --data-root")
        try:
            with np.load(path) as data:
                columns = {name: data[name] for name in ("channels", "accuracy", "macs", "params")}
        except (KeyError, ValueError, OSError) as error:
            raise DataError(
                f"{path} is no table of networks ({error}); it needs the arrays channels, "
                "accuracy (in %), macs and params"
            ) from error
        return cls(
            columns["channels"].astype(np.int64),
            columns["accuracy"].astype(float) / 100,
            columns["macs"].astype(np.int64),
            columns["params"].astype(np.int64),
        )

    def save(self, path: Path) -> None:
        """Write the table so that :meth:`load` reads it."""
        np.savez_compressed(
            path,
            channels=self.channels,
            accuracy=100 * self.accuracy,
            macs=self.macs,
            params=self.params,
        )

    @cached_property
    def space(self) -> WidthSpace:
        """The widths that the networks have."""
        rungs = tuple(tuple(np.unique(column).tolist()) for column in self.channels.T)
        return WidthSpace(tuple(f"{self.noun}{i}" for i in range(len(rungs))), rungs)

    def find_rows(self, active: IntArray | Sequence[tuple[int, ...]]) -> IntArray:
        """Return the rows of networks given by their widths, shape (n, n_groups)."""
        return np.array([self._rows[tuple(map(int, widths))] for widths in active], dtype=np.int64)

    def measure(self, widths: Widths) -> Mapping[str, int]:
        """Return the footprints of a network."""
        row = self._rows[widths.active]
        return {"macs": int(self.macs[row]), "params": int(self.params[row])}

    def table(self, widths: IntArray) -> dict[str, IntArray]:
        """Return the footprints of many networks, as a supernet's footprint model does."""
        rows = self.find_rows(np.atleast_2d(widths))
        return {"macs": self.macs[rows], "params": self.params[rows]}

    def make_task(self, seed: int) -> SearchTask:
        """Make the task of searching for accuracy against macs."""
        objectives = (Objective("accuracy", "maximize", lambda subnet: 0.0), Macs())
        return SearchTask(self.space, objectives, self, self.evaluate, {}, seed)

    def evaluate(self, widths: Widths) -> dict[str, float]:
        """Look a network's accuracy up."""
        return {"accuracy": float(self.accuracy[self._rows[widths.active]])}


class Scores:
    """Says how near networks come to the true front of a table.

    Args:
        table: The table.
    """

    def __init__(self, table: WidthTable) -> None:
        self._table = table
        logs = np.log10(table.macs)
        self._logs = logs
        self._grid = np.linspace(logs.min(), logs.max(), N_GRID)
        every = np.arange(len(logs))
        self._best = self._find_best(every)
        self._volumes = {is_log: self._find_volume(every, is_log) for is_log in (True, False)}

    def of(self, rows: IntArray) -> dict[str, float]:
        """Score the networks that a search has evaluated.

        Args:
            rows: Their rows of the table, at least one.

        Returns:
            ``gap``: the mean over log macs, from the smallest network's to the largest's, of
            the best accuracy in the table minus the best found, in points. ``hypervolume`` and
            ``hypervolume_linear``: shares of the true front's, in percent, with log macs and
            macs; the reference point is the lowest accuracy and the largest cost of the table.
        """
        return {
            "gap": float(100 * np.mean(self._best - self._find_best(rows))),
            "hypervolume": 100 * self._find_volume(rows, is_log=True) / self._volumes[True],
            "hypervolume_linear": 100
            * self._find_volume(rows, is_log=False)
            / self._volumes[False],
        }

    def hypervolume(self, rows: IntArray) -> float:
        """Return the share of the true front's hypervolume in log macs, in percent."""
        return self.of(rows)["hypervolume"]

    def _find_best(self, rows: IntArray) -> FloatArray:
        # Best accuracy within each cost of the grid. Where nothing was found at that cost yet,
        # a search has nothing to offer: the lowest accuracy of the table.
        order = rows[np.argsort(self._logs[rows], kind="stable")]
        lowest = self._table.accuracy.min()
        best = np.maximum.accumulate(np.concatenate([[lowest], self._table.accuracy[order]]))
        within = np.searchsorted(self._logs[order], self._grid + 1e-12, side="right")
        found: FloatArray = best[within]
        return found

    def _find_volume(self, rows: IntArray, is_log: bool) -> float:
        costs = self._logs if is_log else self._table.macs.astype(float)
        points = np.column_stack([-self._table.accuracy[rows], costs[rows]])
        # A front of thousands of points among them is found much faster from few of them.
        order = np.lexsort((points[:, 0], points[:, 1]))
        rising = np.minimum.accumulate(points[order, 0])
        is_better = np.append(True, rising[1:] < rising[:-1])
        reference = np.array([-self._table.accuracy.min(), costs.max()])
        return compute_hypervolume(points[order][is_better], reference)


def search(
    table: WidthTable,
    settings: SearchSettings,
    *,
    n_evaluated: int,
    seed: int,
    path: Sequence[Widths] = (),
) -> SearchResult:
    """Search a table until enough networks are evaluated.

    Args:
        table: The table.
        settings: How; ``n_ladder`` says how many uniform networks come first. The budget is
            set here.
        n_evaluated: Networks to evaluate.
        seed: Seed of the study.
        path: Networks to try before those.

    Returns:
        What the study has found; it has evaluated fewer networks if the sampler found no new
        ones in twenty-five times as many trials.
    """
    task = table.make_task(seed)
    settings = replace(
        settings, n_evaluated=n_evaluated, n_trials=TRIALS_FOR_EACH_NETWORK * n_evaluated
    )
    seeds = propose_seeds(ProposalRequest(task, settings, path))
    study = open_study("table", None, task.objectives, make_sampler(settings, task))
    return run_study(study, task, settings, seeds)


def list_evaluated(result: SearchResult) -> list[TrialRecord]:
    """Return the trials whose networks were evaluated, by number; cached ones are not among them."""
    return [trial for trial in result.trials if trial.fate in EVALUATED]
