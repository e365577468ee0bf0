from __future__ import annotations

import numpy as np
import pytest
import sklearn
from search.fakes import make_task
from search.fakes import sample_trials
from threadpoolctl import threadpool_info
from threadpoolctl import threadpool_limits

from dpod_search.search.plan.surrogate import MODELS
from dpod_search.search.plan.surrogate import models
from dpod_search.search.plan.surrogate.models import small_numerics


def draw(n, n_features=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def smooth(X):
    return np.tanh(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] - 0.3 * X[:, 3] ** 2


def learn(name, X, y):
    with small_numerics():
        model = MODELS[name](0)
        model.tune(X, y)
        return model.fit(X, y)


# Trees average what they have seen, so they are the coarsest where all is smooth.
@pytest.mark.parametrize(
    ("name", "limit"), [("gaussian process", 0.1), ("ridge", 0.25), ("extra trees", 0.75)]
)
def test_every_model_learns_a_smooth_function_and_says_how_unsure_it_is(name, limit):
    X, unseen = draw(120), draw(200, seed=1)
    mean, std = learn(name, X, smooth(X))(unseen)
    truth = smooth(unseen)
    assert mean.shape == std.shape == (200,)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < limit * truth.std()
    assert np.all(std > 0)
    # Where it says that it is less sure it is more often wrong.
    unsure = std > np.median(std)
    errors = np.abs(mean - truth)
    assert name == "ridge" or errors[unsure].mean() > errors[~unsure].mean()


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_points_give_the_same_prediction_to_the_last_bit(name):
    X = draw(40)
    found = [learn(name, X, smooth(X))(X) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("name", list(MODELS))
def test_points_of_one_value_are_no_trouble(name):
    X = draw(20)
    mean, std = learn(name, X, np.zeros(20))(draw(5, seed=1))
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    assert np.isfinite(std).all()


def test_the_registry_covers_what_is_documented():
    assert list(MODELS) == ["gaussian process", "ridge", "extra trees"]


def test_a_fit_keeps_what_was_tuned():
    # What is tuned on flat data knows no structure: all is noise to it.
    X = draw(40)
    model = models.GaussianProcess()
    model.tune(X, np.zeros(40))
    mean, _ = model.fit(X, smooth(X))(X)
    fresh, _ = learn("gaussian process", X, smooth(X))(X)
    assert np.abs(fresh - smooth(X)).mean() < 0.5 * np.abs(mean - smooth(X)).mean()


def test_a_gaussian_process_is_tuned_on_no_more_points_than_allowed(monkeypatch):
    seen = []
    monkeypatch.setattr(models, "MAX_TUNED", 30)
    monkeypatch.setattr(
        models, "_climb", lambda objective, start, bounds: (seen.append(1), (start, 0.0))[1]
    )
    sizes = []
    fit = models.GaussianProcess._fit
    monkeypatch.setattr(
        models.GaussianProcess,
        "_fit",
        lambda self, X, y, *rest: (sizes.append(len(X)), fit(self, X, y, *rest))[1],
    )
    X = draw(80)
    model = models.GaussianProcess()
    model.tune(X, smooth(X))
    model.fit(X, smooth(X))
    assert sizes == [30, 80]
    assert len(seen) == 1


def test_the_ridge_leaves_products_out_where_there_are_too_many():
    # 3 features have 3 squares and 3 products; 40 would have 780 products.
    X = draw(30, 3)
    few = learn("ridge", X, X[:, 0] * X[:, 1])(X)[0]
    assert np.corrcoef(few, X[:, 0] * X[:, 1])[0, 1] > 0.99
    wide = draw(30, 40)
    assert models._square(wide).shape == (30, 80)
    ridge = models.QuadraticRidge()
    ridge.tune(wide, wide[:, 0])
    assert ridge._expand is models._square


def test_the_models_learn_what_a_search_meets():
    task = make_task()
    trials, unseen = sample_trials(task, 60), sample_trials(task, 60, seed=1)
    X, new = (np.log2([t.widths.active for t in many]) for many in (trials, unseen))
    mean, scale = X.mean(axis=0), X.std(axis=0)
    y, truth = (np.array([t.values[0] for t in many]) for many in (trials, unseen))
    for name in MODELS:
        standard = (y - y.mean()) / y.std()
        found = learn(name, (X - mean) / scale, standard)((new - mean) / scale)[0]
        assert np.corrcoef(found, truth)[0, 1] > 0.9, name


def count_threads():
    return [library["num_threads"] for library in threadpool_info()]


def test_settings_hold_inside_the_block_alone():
    with small_numerics():
        pass  # finds the libraries
    with threadpool_limits(2):
        before = count_threads(), sklearn.get_config()
        with small_numerics():
            assert set(count_threads()) == {1}
            assert sklearn.get_config()["assume_finite"]
        assert (count_threads(), sklearn.get_config()) == before
