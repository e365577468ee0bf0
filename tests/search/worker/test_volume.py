from __future__ import annotations

import numpy as np
import pytest

from dpod_search.pareto import compute_hypervolume
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.worker.volume import MARGIN
from dpod_search.search.worker.volume import VolumeTrace
from dpod_search.widths import Widths


def make_history(values, violations=None):
    history = History(["maximize", "minimize"])
    extend(history, values, violations)
    return history


def extend(history, values, violations=None):
    for value, violation in zip(values, violations or [0.0] * len(values), strict=True):
        n = history.n_finished
        widths = Widths(("a",), (n + 1,))
        history.add(FinishedTrial(n, widths, "evaluated", {}, tuple(value), {}, violation))


@pytest.mark.parametrize("steps", [[40], [1] * 40, [5, 20, 15]])
def test_volumes_are_those_of_the_points_so_far_up_to_the_worst_of_all(steps):
    values = np.random.default_rng(0).uniform([0.1, 1], [0.9, 1000], (40, 2))
    trace, history = VolumeTrace([False, True]), History(["maximize", "minimize"])
    n = 0
    for step in steps:
        extend(history, values[n : n + step])
        n += step
        found = trace.extend(history)
    points = np.column_stack([-values[:, 0], np.log(values[:, 1])])
    reference = points.max(axis=0) + MARGIN * np.ptp(points, axis=0)
    expected = [compute_hypervolume(points[: i + 1], reference) for i in range(40)]
    assert found == pytest.approx(expected)


def test_what_violates_a_constraint_adds_nothing():
    values = [(0.2, 100.0), (0.5, 10.0), (0.9, 1.0)]
    clean = VolumeTrace([False, True]).extend(make_history(values[:2]))
    found = VolumeTrace([False, True]).extend(make_history(values, [0, 0, 0.5]))
    assert found == pytest.approx([*clean, clean[-1]])


def test_without_trials_there_are_no_volumes():
    assert VolumeTrace([True, True]).extend(History(["minimize", "minimize"])) == []
