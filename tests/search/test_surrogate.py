from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import compute_accuracy
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.rng import numpy_generator
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search.history import FinishedTrial
from dpod_search.search.surrogate import Surrogate
from dpod_search.search.surrogate import choose_points


def make_trials(task, n, noise=0.0, seed=0):
    rng = numpy_generator(seed, "trials")
    trials = []
    for number in range(n):
        widths = task.space.sample(rng)
        footprint = task.measure_footprint(widths)
        accuracy = compute_accuracy(widths, task.space) + noise * rng.standard_normal()
        values = [footprint.get(o.name, accuracy) for o in task.objectives]
        trials.append(FinishedTrial(number, widths, "evaluated", footprint, tuple(values)))
    return trials


def test_it_learns_a_smooth_function():
    task = make_task()
    surrogate = Surrogate(task, make_trials(task, 60), confidence=0.9)
    unseen = make_trials(task, 100, seed=1)
    truth = np.array([trial.values[0] for trial in unseen])
    mean = surrogate.predict([trial.widths for trial in unseen]).mean[:, 0]
    assert np.abs(mean - truth).mean() < 0.2 * truth.std()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_intervals_cover_about_what_they_promise(noise):
    task = make_task(make_space(6))
    surrogate = Surrogate(task, make_trials(task, 80, noise), confidence=0.9)
    unseen = make_trials(task, 300, noise, seed=1)
    found = surrogate.predict([trial.widths for trial in unseen])
    truth = np.array([trial.values[0] for trial in unseen])
    covered = np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0]))
    # Cross-conformal intervals of nominal 0.9 with 80 residuals: one process, so wide limits.
    assert 0.78 <= covered <= 0.99


def test_the_same_trials_give_the_same_prediction():
    task = make_task()
    trials = make_trials(task, 40)
    widths = [task.space.full, task.space.smallest]
    found = [Surrogate(task, trials, confidence=0.9).predict(widths) for _ in range(2)]
    np.testing.assert_array_equal(found[0].mean, found[1].mean)
    np.testing.assert_array_equal(found[0].low, found[1].low)


class MoreFootprints(ChainFootprint):
    def measure(self, widths):
        return super().measure(widths) | {"toy": max(widths.active)}


def test_a_footprint_that_nobody_searches_changes_no_prediction():
    task = make_task()
    more = replace(task, footprint=MoreFootprints())
    trials = make_trials(task, 40)
    widths = [task.space.full, task.space.smallest]
    found = [Surrogate(t, trials, confidence=0.9).predict(widths) for t in (task, more)]
    np.testing.assert_array_equal(found[0].mean, found[1].mean)
    toy = Objective("toy", "minimize", needs="footprint")
    searched = replace(more, objectives=(ACCURACY, Macs(), toy))
    helped = Surrogate(searched, trials, confidence=0.9).predict(widths)
    assert not np.array_equal(found[0].mean, helped.mean)


def test_every_measured_objective_is_predicted_in_its_order():
    error = Objective("error", "minimize", lambda subnet: 0.0)
    task = replace(make_task(), objectives=(ACCURACY, Macs(), error))
    trials = [
        replace(trial, values=(*trial.values[:2], 1 - trial.values[0]))
        for trial in make_trials(task, 40)
    ]
    found = Surrogate(task, trials, confidence=0.9).predict([task.space.full])
    assert found.mean.shape == (1, 2)
    assert found.mean.sum() == pytest.approx(1.0, abs=0.02)
    assert np.all(found.low < found.mean)


def test_an_objective_that_never_changes_is_no_trouble():
    task = make_task()
    trials = [replace(trial, values=(0.5, trial.values[1])) for trial in make_trials(task, 20)]
    found = Surrogate(task, trials, confidence=0.9).predict([task.space.full])
    assert found.mean[0, 0] == pytest.approx(0.5)


def test_too_many_trials_are_thinned_to_the_front_and_the_most_recent():
    task = make_task()
    trials = make_trials(task, 50)
    minimized = np.array([(-t.values[0], t.values[1]) for t in trials])
    minimized[3] = (-9.0, 0.0)  # dominates all
    chosen = choose_points(trials, minimized, 10)
    assert [trial.number for trial in chosen] == [3, *range(41, 50)]
    assert choose_points(trials, minimized, 50) == trials
