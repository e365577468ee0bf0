from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from search.fakes import make_space

from dpod_search.pareto import find_front
from dpod_search.search.history import FinishedTrial
from dpod_search.search.history import History


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25))
def test_the_front_is_kept_up_to_date(points):
    space = make_space()
    history = History(["maximize", "minimize"])
    for number, point in enumerate(points):
        history.add(FinishedTrial(number, space.full, "evaluated", {}, tuple(map(float, point))))
    minimized = np.array([(-a, b) for a, b in points], dtype=float).reshape(-1, 2)
    expected = minimized[find_front(minimized)]
    assert sorted(history.front.tolist()) == sorted(expected.tolist())


def test_only_measured_trials_are_learned_from_and_failed_ones_count():
    space = make_space()
    history = History(["maximize"])
    for number, (fate, values) in enumerate(
        [("evaluated", (1.0,)), ("audited", (2.0,)), ("cached", (1.0,)), ("failed", None)]
    ):
        history.add(FinishedTrial(number, space.full, fate, {}, values))
    assert [trial.number for trial in history.measured] == [0, 1]
    assert history.n_finished == 4
    assert history.find(space.full).number == 0
