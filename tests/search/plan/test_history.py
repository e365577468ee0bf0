from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.fakes import finish
from search.fakes import make_history
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.pareto import find_front
from dpod_search.search import SearchSettings
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.history import History
from dpod_search.search.plan.history import is_audit


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


def test_the_first_of_equal_trials_is_found():
    task = make_task()
    first, second = (finish(task, number, task.space.full) for number in (0, 1))
    history = make_history(task, [first, second])
    assert history.find(task.space.full) is first
    assert history.find(task.space.smallest) is None


def test_widths_are_tried_from_the_moment_their_trial_starts():
    task = make_task()
    history, full = make_history(task, []), task.space.full
    assert not history.is_tried(full)
    history.start(0, full)
    assert history.is_tried(full)
    assert history.in_flight == {0: full}
    assert history.n_finished == 0
    history.add(finish(task, 0, full))
    assert history.is_tried(full)
    assert history.in_flight == {}


@pytest.mark.parametrize("fate", ["failed", "pruned-constraint", "pruned-surrogate"])
def test_trials_without_values_are_tried_but_teach_nothing(fate):
    space = make_space()
    history = History(["maximize"])
    history.start(0, space.full)
    history.add(FinishedTrial(0, space.full, fate, {}, None))
    assert history.is_tried(space.full)
    assert history.find(space.full) is None
    assert len(history.measured) == len(history.front) == len(history.in_flight) == 0


def test_trials_that_violate_a_constraint_are_learned_from_but_not_on_the_front():
    space = make_space()
    history = History(["maximize", "minimize"])
    history.add(FinishedTrial(0, space.full, "evaluated", {}, (0.9, 10.0), violation=0.1))
    history.add(FinishedTrial(1, space.smallest, "evaluated", {}, (0.5, 20.0)))
    assert history.front.tolist() == [[-0.5, 20.0]]
    assert [trial.number for trial in history.measured] == [0, 1]
    assert not history.is_beaten((0.6, 20.0))
    assert history.is_beaten((0.4, 20.0))
    assert not history.is_beaten((0.5, 20.0))


def test_values_are_minimized_in_the_order_of_the_trials_that_have_some():
    space = make_space()
    history = History(["maximize", "minimize"])
    trials = [
        FinishedTrial(0, space.full, "evaluated", {}, (1.0, 2.0)),
        FinishedTrial(1, space.full, "failed", {}, None),
        FinishedTrial(2, space.full, "evaluated", {}, (3.0, 4.0)),
    ]
    assert history.minimize_all(trials).tolist() == [[-1, 2], [-3, 4]]
    assert history.minimize_all([]).shape == (0, 2)


def draw(share, seed=0, n=2000):
    settings = SearchSettings(audit_share=share)
    return [is_audit(seed, number, settings) for number in range(n)]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_asked_for_is_audited(share):
    # Numbers of trials are fixed, so this cannot fail by chance; the width is 4 deviations.
    deviation = (share * (1 - share) / 2000) ** 0.5
    assert sum(draw(share)) / 2000 == pytest.approx(share, abs=4 * deviation)


def test_none_and_all_can_be_asked_for():
    assert not any(draw(0.0))
    assert all(draw(1.0))


def test_which_trials_they_are_follows_from_seed_and_number():
    assert draw(0.2) == draw(0.2)
    assert draw(0.2) != draw(0.2, seed=1)


def test_more_audits_keep_those_there_were():
    assert all(more for few, more in zip(draw(0.1), draw(0.3), strict=True) if few)
