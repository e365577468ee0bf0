from __future__ import annotations

from dataclasses import replace
from itertools import islice
from itertools import takewhile

import numpy as np
import pytest
from search.fakes import make_history
from search.fakes import make_task
from search.fakes import sample_trials

from dpod_search.search import Macs
from dpod_search.search import Params
from dpod_search.search import SearchSettings
from dpod_search.search.plan.surrogate import SurrogateFitter
from dpod_search.search.plan.surrogate import choose_points
from dpod_search.search.plan.surrogate import list_refits
from dpod_search.search.plan.surrogate import refitting


SETTINGS = SearchSettings(min_evaluated=12, refit_every=4)


def predict(surrogate, task):
    found = surrogate.predict([task.space.full, task.space.smallest])
    return np.stack([found.mean, found.low, found.high])


@pytest.fixture
def counted(monkeypatch):
    """Count the surrogates that are made: how many points each learned from, and if it tuned."""
    made = []

    class Counting(refitting.Surrogate):
        def __init__(self, task, trials, *, confidence, tuning=None, past=()):
            super().__init__(task, trials, confidence=confidence, tuning=tuning, past=past)
            made.append((len(trials), tuning is None))

    monkeypatch.setattr(refitting, "Surrogate", Counting)
    return made


def count_refits(settings, low, high):
    """Count the fits for each trial while the number of evaluated ones is in this range."""
    refits = takewhile(lambda n: n < high, list_refits(settings))
    return sum(n >= low for n in refits) / (high - low)


def test_refits_begin_at_once_and_follow_the_setting():
    refits = list(islice(list_refits(SETTINGS), 60))
    assert refits[:4] == [12, 16, 20, 24]
    assert np.diff(refits).min() == 4
    assert np.all(np.diff(refits, n=2) >= -1)  # ever rarer, but for rounding


@pytest.mark.parametrize("every", [1, 2, 10])
def test_the_more_is_known_the_fewer_fits_there_are_for_each_trial(every):
    settings = SearchSettings(refit_every=every)
    rates = [count_refits(settings, n, 2 * n) for n in (100, 500, 1000)]
    assert 1 / every >= rates[0] > rates[1] > rates[2]
    # They cannot become a burden, nor does the surrogate ever stand still.
    late = count_refits(settings, 10_000, 20_000)
    assert 0 < late < min(rates[1], 0.02)


def test_a_fitter_finds_its_place_among_the_refits():
    fitter = SurrogateFitter(make_task(), SETTINGS)
    found = [fitter.find_refit(n) for n in (0, 11, 12, 15, 16, 23)]
    assert found == [None, None, 12, 12, 16, 20]
    assert [fitter.find_next(n) for n in (0, 12, 15, 16)] == [12, 16, 16, 20]


def test_nothing_is_learned_of_too_few_trials_or_where_all_is_exact():
    task = make_task()
    trials = sample_trials(task, 12)
    fitter = SurrogateFitter(task, SETTINGS)
    assert fitter.find_surrogate(make_history(task, trials[:11])) is None
    assert fitter.find_surrogate(make_history(task, trials)) is not None
    exact = make_task(objectives=(Macs(), Params()))
    history = make_history(exact, sample_trials(exact, 20))
    assert SurrogateFitter(exact, SETTINGS).find_surrogate(history) is None


def test_trials_that_were_not_evaluated_do_not_count():
    task = make_task()
    trials = sample_trials(task, 12)
    trials[5] = replace(trials[5], fate="cached")
    assert SurrogateFitter(task, SETTINGS).find_surrogate(make_history(task, trials)) is None


def test_between_two_refits_the_surrogate_stays_the_same(counted):
    task = make_task()
    history, fitter = make_history(task, []), SurrogateFitter(task, SETTINGS)
    seen = []
    for trial in sample_trials(task, 30):
        history.add(trial)
        seen.append(fitter.find_surrogate(history))
    assert seen[11] is seen[14]
    assert seen[14] is not seen[15]
    # Tuned at 12, and at 20 and 28 again: each time 1.4 times as many, or more, were known.
    fits = [n for n, is_tuning in counted if not is_tuning]
    assert fits == [12, 16, 20, 24, 28]
    assert [n for n, is_tuning in counted if is_tuning] == [12, 20, 28]


def test_what_is_learned_depends_on_the_history_alone():
    task = make_task()
    # Their intervals held each time, which makes the next ones narrower.
    held = {"accuracy": (0.5, 0.0, 1.0)}
    trials = [replace(trial, predictions=held) for trial in sample_trials(task, 47)]
    used, history = SurrogateFitter(task, SETTINGS), make_history(task, trials[:12])
    for trial in trials[12:]:
        used.find_surrogate(history)
        history.add(trial)
    fresh = SurrogateFitter(task, SETTINGS).find_surrogate(make_history(task, trials[:46]))
    again = used.find_surrogate(history)
    np.testing.assert_array_equal(predict(again, task), predict(fresh, task))
    # And it has not stood still.
    early = SurrogateFitter(task, SETTINGS).find_surrogate(make_history(task, trials[:12]))
    assert not np.array_equal(predict(early, task), predict(fresh, task))
    # Also back to an earlier history.
    back = used.find_surrogate(make_history(task, trials[:12]))
    np.testing.assert_array_equal(predict(back, task), predict(early, task))


def test_another_study_as_long_as_the_last_one_is_learned_anew():
    task = make_task()
    used = SurrogateFitter(task, SETTINGS)
    used.find_surrogate(make_history(task, sample_trials(task, 30)))
    history = make_history(task, sample_trials(task, 30, seed=1))
    fresh = SurrogateFitter(task, SETTINGS).find_surrogate(history)
    np.testing.assert_array_equal(
        predict(used.find_surrogate(history), task), predict(fresh, task)
    )


def test_a_fit_takes_no_more_points_than_allowed(counted, monkeypatch):
    monkeypatch.setattr(
        refitting,
        "choose_points",
        lambda trials, minimized: choose_points(trials, minimized, max_points=15),
    )
    task = make_task()
    SurrogateFitter(task, SETTINGS).find_surrogate(make_history(task, sample_trials(task, 40)))
    assert counted == [(15, True), (15, False)]


def test_there_is_a_limit_to_what_is_learned_from():
    task = make_task()
    limit = refitting.MAX_POINTS
    trials = sample_trials(task, limit + 50)
    history = make_history(task, trials)
    chosen = choose_points(trials, history.minimize_all(trials))
    assert len(chosen) == limit <= 400  # a Gaussian process takes the cube of it


def test_too_many_trials_are_thinned_to_the_front_and_the_most_recent():
    task = make_task()
    trials = sample_trials(task, 50)
    minimized = np.array([(-t.values[0], t.values[1]) for t in trials])
    minimized[3] = (-9.0, 0.0)  # dominates all
    chosen = choose_points(trials, minimized, 10)
    assert [trial.number for trial in chosen] == [3, *range(41, 50)]
    assert choose_points(trials, minimized, 50) == trials
