from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import make_space
from search.fakes import make_task
from search.fakes import sample_trials

from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.surrogate import MODELS
from dpod_search.search.plan.surrogate import Surrogate
from dpod_search.search.plan.surrogate import surrogate as surrogate_module
from dpod_search.search.plan.surrogate.models import small_numerics
from dpod_search.search.plan.surrogate.surrogate import MARGIN
from dpod_search.search.plan.surrogate.surrogate import choose_model


def with_noise(trials, noise):
    rng = np.random.default_rng(len(trials))
    return [
        replace(t, values=(t.values[0] + noise * rng.standard_normal(), *t.values[1:]))
        for t in trials
    ]


def test_it_learns_a_smooth_function():
    task = make_task()
    surrogate = Surrogate(task, sample_trials(task, 60), confidence=0.9)
    unseen = sample_trials(task, 100, seed=1)
    truth = np.array([trial.values[0] for trial in unseen])
    mean = surrogate.predict([trial.widths for trial in unseen]).mean[:, 0]
    assert np.abs(mean - truth).mean() < 0.2 * truth.std()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_intervals_cover_about_what_they_promise(noise):
    task = make_task(make_space(6))
    surrogate = Surrogate(task, with_noise(sample_trials(task, 80), noise), confidence=0.9)
    unseen = with_noise(sample_trials(task, 300, seed=1), noise)
    found = surrogate.predict([trial.widths for trial in unseen])
    truth = np.array([trial.values[0] for trial in unseen])
    covered = np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0]))
    # Cross-conformal intervals of nominal 0.9 with 80 residuals: one process, so wide limits.
    assert 0.78 <= covered <= 0.99


def test_the_same_trials_give_the_same_prediction():
    task = make_task()
    trials = sample_trials(task, 40)
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
    trials = sample_trials(task, 40)
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
        replace(trial, values=(*trial.values, 1 - trial.values[0]))
        for trial in sample_trials(make_task(), 40)
    ]
    found = Surrogate(task, trials, confidence=0.9).predict([task.space.full])
    assert found.mean.shape == (1, 2)
    assert found.mean.sum() == pytest.approx(1.0, abs=0.02)
    assert np.all(found.low < found.mean)


def test_an_objective_that_never_changes_is_no_trouble():
    task = make_task()
    trials = [replace(trial, values=(0.5, trial.values[1])) for trial in sample_trials(task, 20)]
    found = Surrogate(task, trials, confidence=0.9).predict([task.space.full])
    assert found.mean[0, 0] == pytest.approx(0.5)


def test_a_summary_is_the_prediction_of_one_subnet():
    task = make_task()
    surrogate = Surrogate(task, sample_trials(task, 40), confidence=0.9)
    many = [trial.widths for trial in sample_trials(task, 8, seed=1)]
    found = surrogate.predict(many)
    expected = np.stack([found.mean, found.low, found.high], axis=1)
    surrogate.prepare(many[:5])
    for widths, one in zip(many, expected, strict=True):
        # Of more rows at once the last digits of a sum may differ.
        np.testing.assert_allclose(surrogate.summarize(widths), one, rtol=1e-9)
    surrogate.prepare([])


def test_footprints_that_are_known_spare_measuring_and_change_nothing():
    task = make_task()
    surrogate = Surrogate(task, sample_trials(task, 20), confidence=0.9)
    lattice = Lattice(task)
    rungs = lattice.from_widths([task.space.full, task.space.smallest])
    known = surrogate.predict_rungs(rungs, lattice.measure(rungs))
    np.testing.assert_array_equal(known.mean, surrogate.predict_rungs(rungs).mean)


def test_better_is_towards_the_direction_of_an_objective():
    error = Objective("error", "minimize", lambda subnet: 0.0)
    task = replace(make_task(), objectives=(ACCURACY, Macs(), error))
    trials = [
        replace(trial, values=(*trial.values, 1 - trial.values[0]))
        for trial in sample_trials(make_task(), 40)
    ]
    found = Surrogate(task, trials, confidence=0.9).predict([task.space.uniform(0.5)])
    worse, same, better = found.better(np.array([[-1.0, -1], [0, 0], [1, 1]]))[:, 0]
    assert worse[0] < same[0] < better[0]
    assert worse[1] > same[1] > better[1]
    np.testing.assert_array_equal(same, found.mean[0])


def measure_interval(task, trials, past, confidence=0.9, tuning=None):
    surrogate = Surrogate(task, trials, confidence=confidence, past=past, tuning=tuning)
    found = surrogate.predict([task.space.uniform(0.5)])
    return float(found.high[0, 0] - found.low[0, 0])


def test_intervals_widen_after_misses_and_narrow_after_hits():
    task = make_task()
    trials = sample_trials(task, 30)
    tuning = Surrogate(task, trials, confidence=0.9).tuning

    def predict(trial, *, is_hit):
        value = trial.values[0]
        low, high = (value - 0.1, value + 0.1) if is_hit else (value + 0.1, value + 0.3)
        return replace(trial, predictions={"accuracy": (value + 0.05, low, high)})

    hits = [predict(trial, is_hit=True) for trial in trials]
    misses = [predict(trial, is_hit=False) for trial in trials]
    other = [replace(trial, predictions={"other": (0.0, 9.0, 9.0)}) for trial in trials]

    def measure(past):
        return measure_interval(task, trials, past, tuning=tuning)

    before = measure(trials)
    assert measure([]) == measure(other) == before
    assert measure(hits[:10]) < before < measure(misses[:1]) < measure(misses[:4])
    # One miss in ten is what was asked for: nothing changes.
    assert measure([*hits[:9], misses[9]]) == pytest.approx(before)


def test_more_confidence_takes_wider_intervals():
    task = make_task()
    trials = sample_trials(task, 40)
    tuning = Surrogate(task, trials, confidence=0.9).tuning
    widths = [measure_interval(task, trials, (), c, tuning) for c in (0.6, 0.8, 0.95)]
    assert widths == sorted(set(widths))


def test_what_was_tuned_is_kept_and_learned_from_new_trials():
    task = make_task()
    trials = sample_trials(task, 60)
    first = Surrogate(task, trials[:30], confidence=0.9)
    second = Surrogate(task, trials, confidence=0.9, tuning=first.tuning)
    assert second.tuning.choices[0].model is first.tuning.choices[0].model
    assert second.tuning.columns == first.tuning.columns
    unseen = sample_trials(task, 100, seed=1)
    truth = np.array([trial.values[0] for trial in unseen])
    errors = [
        np.abs(s.predict([t.widths for t in unseen]).mean[:, 0] - truth).mean()
        for s in (first, second)
    ]
    assert errors[1] < errors[0]


def draw_points(n=60):
    return np.random.default_rng(0).normal(size=(n, 3))


def choose(X, y):
    with small_numerics():
        return choose_model(X, y, 0)


def test_every_model_gets_a_score_and_the_best_is_chosen_if_it_is_clearly_better():
    X = draw_points()
    quadratic = choose(X, X[:, 0] ** 2 - X[:, 1] * X[:, 2])
    assert list(quadratic.scores) == list(MODELS)
    # A ridge with products holds it exactly.
    assert quadratic.name == "ridge"
    assert quadratic.scores["ridge"] < MARGIN * quadratic.scores["gaussian process"]
    assert isinstance(quadratic.model, MODELS["ridge"])


class Biased:
    """Predicts the first feature, and is wrong by the same everywhere."""

    def __init__(self, bias):
        self.bias = bias

    def tune(self, X, y):
        pass

    def fit(self, X, y):
        return lambda X: (X[:, 0] + self.bias, np.ones(len(X)))


@pytest.mark.parametrize(
    ("biases", "expected"),
    [((1.0, 0.95, 0.95), "a"), ((1.0, 0.85, 0.95), "b"), ((1.0, 0.85, 0.8), "c")],
)
def test_another_model_than_the_first_has_to_be_clearly_better(monkeypatch, biases, expected):
    fakes = {
        name: lambda seed, b=bias: Biased(b) for name, bias in zip("abc", biases, strict=True)
    }
    monkeypatch.setattr(surrogate_module, "MODELS", fakes)
    X = draw_points(20)
    found = choose(X, X[:, 0])
    assert found.name == expected
    assert list(found.scores.values()) == pytest.approx(biases)
    # The residuals are those of the model that was chosen.
    np.testing.assert_allclose(found.residuals, found.model.bias)


def test_without_a_clear_winner_it_is_the_first_model():
    noise = np.random.default_rng(1).normal(size=60)
    found = choose(draw_points(), noise)
    assert found.scores[found.name] <= min(found.scores.values()) / MARGIN
    assert found.name == next(iter(MODELS))


def test_residuals_are_those_of_points_that_were_left_out():
    X = draw_points(40)
    found = choose(X, X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=40))
    assert len(found.residuals) == 40
    assert np.all(np.diff(found.residuals) >= 0)
    # In units of the model's own standard deviation they are about normal.
    assert 0.4 < np.median(found.residuals) < 1.2
