"""Importance of groups, where it is known in closed form."""

from __future__ import annotations

import time

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.rng import numpy_generator
from dpod_search.search import Front
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import SearchResult
from dpod_search.search import TrialRecord
from dpod_search.search.importance import measure_importance


BOTH = (ACCURACY, Macs())


def make_result(measure, *, n=120, n_groups=4, objectives=BOTH, seed=0):
    """Return a search whose trials were drawn from all of the space; ratios give the values."""
    space = make_space(n_groups)
    task = make_task(space, objectives=objectives)
    rng = numpy_generator(seed, "trials")
    records = []
    for number in range(n):
        widths = space.sample(rng)
        footprint = task.measure_footprint(widths)
        ratios = np.array(widths.active) / np.array(space.full.active)
        names = [o.name for o in objectives if o.is_measured]
        values = dict(zip(names, np.atleast_1d(measure(ratios, rng)), strict=True))
        values = {name: float(value) for name, value in values.items()}
        values |= {o.name: float(footprint[o.name]) for o in objectives if not o.is_measured}
        records.append(
            TrialRecord(
                number=number,
                fate="evaluated",
                source="sampler",
                generation=0,
                widths=widths,
                values=values,
                footprint=footprint,
                predictions={},
                reason="",
                seconds=0.0,
                is_audit=False,
                audit_wrong=None,
            )
        )
    front = Front((), task.objectives)
    return SearchResult("s", space, {}, tuple(records), front, {}, ("macs",))


def weigh(ratios, rng):
    return 3 * np.log2(ratios[0]) + np.log2(ratios[2])


def test_it_is_the_share_of_variance_of_a_sum():
    # Independent terms: the total effects are the variances, which are as 9 to 1 here.
    found = measure_importance(make_result(weigh))
    shares = found.shares["accuracy"]
    assert list(found.shares) == list(found.r2) == ["accuracy"]
    assert found.r2["accuracy"] > 0.95
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert shares["group0"] == pytest.approx(0.9, abs=0.05)
    assert shares["group2"] == pytest.approx(0.1, abs=0.05)
    assert max(shares["group1"], shares["group3"]) < 0.01


def test_every_measured_objective_has_its_own():
    second = Objective("speed", "maximize", lambda subnet: 0.0)
    result = make_result(lambda r, rng: (r[0], r[3]), objectives=(ACCURACY, Macs(), second))
    shares = measure_importance(result).shares
    assert set(shares) == {"accuracy", "speed"}
    assert max(shares["accuracy"], key=shares["accuracy"].get) == "group0"
    assert max(shares["speed"], key=shares["speed"].get) == "group3"


def test_noise_has_no_importance_but_says_so():
    found = measure_importance(make_result(lambda ratios, rng: rng.normal()))
    assert found.shares == {}
    assert found.r2["accuracy"] < 0.5


def test_too_few_trials_say_nothing():
    assert measure_importance(make_result(weigh, n=19)).r2 == {}
    assert measure_importance(make_result(weigh, n=0)).shares == {}
    # The same subnet again is nothing new.
    result = make_result(weigh, n=10)
    again = SearchResult("s", result.space, {}, result.trials * 3, result.front, {}, ("macs",))
    assert measure_importance(again).r2 == {}


def test_an_objective_that_never_differs_has_none():
    found = measure_importance(make_result(lambda ratios, rng: 0.5))
    assert (found.shares, found.r2) == ({}, {})


def test_the_same_seed_gives_the_same():
    result = make_result(weigh, n=400)
    assert measure_importance(result, seed=3) == measure_importance(result, seed=3)
    assert measure_importance(result, seed=3) != measure_importance(result, seed=4)


def test_many_trials_cost_no_more_than_some_hundreds():
    result = make_result(weigh, n=2000, n_groups=20)
    start = time.process_time()
    shares = measure_importance(result).shares["accuracy"]
    assert time.process_time() - start < 10  # about 1 s; a cubic cost would be minutes
    assert shares["group0"] > 0.8
