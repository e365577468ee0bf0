from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import compute_accuracy
from search.fakes import finish
from search.fakes import make_history
from search.fakes import make_space
from search.fakes import make_task
from search.fakes import sample_trials

from dpod_search.pareto import compute_hypervolume
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import SearchSettings
from dpod_search.search.plan.history import History
from dpod_search.search.plan.history import is_audit
from dpod_search.search.plan.planner import Planner
from dpod_search.widths import WidthSpace


SETTINGS = SearchSettings(min_evaluated=12, refit_every=6, population_size=8, audit_share=0.1)
BLOCKS = WidthSpace(
    ("stem", "block", "a", "b", "head"),
    ((4, 8, 16), (0, 1), (2, 4, 6), (3, 6, 9), (8, 16, 24, 32)),
    inside=(("block", ("a", "b")),),
)


def search(task, settings, n_trials, *, n_workers=1):
    """Run a search; return its trials in the order they finished, and the planner."""
    planner, history, trials = Planner(task, settings), History(task.directions), []
    in_flight = []
    for number in range(n_trials):
        widths = planner.propose(number, history)
        history.start(number, widths)
        in_flight.append((number, widths))
        if len(in_flight) == n_workers:
            trials.append(finish(task, *in_flight.pop(0)))
            history.add(trials[-1])
    return trials, planner


def list_feasible(task):
    space = task.space
    subnets = (space.from_rungs(rungs) for rungs in itertools.product(*map(range, space.n_rungs)))
    return {space.canonical(widths) for widths in subnets if task.is_feasible(widths)}


TASKS = {
    "plain": lambda: make_task(seed=3),
    "bounded": lambda: make_task(make_space(6), constraints={"macs": "<= 20%"}, seed=3),
    "blocks": lambda: make_task(BLOCKS, seed=3),
}


@pytest.mark.parametrize("name", list(TASKS))
def test_a_new_planner_goes_on_where_another_was(name):
    trials, _ = search(TASKS[name](), SETTINGS, 34)
    for n in (0, 12, 17, 33):
        task = TASKS[name]()
        fresh = Planner(task, SETTINGS)
        assert fresh.propose(n, make_history(task, trials[:n])) == trials[n].widths, n


def test_what_was_asked_before_does_not_matter():
    task = make_task()
    trials = sample_trials(task, 30)
    used = Planner(task, SETTINGS)
    for n, number in ((30, 9), (30, 200), (5, 3), (20, 20), (30, 77)):
        used.propose(number, make_history(task, trials[:n]))
    history = make_history(task, trials)
    assert used.propose(31, history) == Planner(task, SETTINGS).propose(31, history)


def test_another_study_as_long_as_the_last_one_is_not_taken_for_it():
    task = make_task()
    used = Planner(task, SETTINGS)
    used.propose(31, make_history(task, sample_trials(task, 30)))
    history = make_history(task, sample_trials(task, 30, seed=1))
    assert used.propose(31, history) == Planner(task, SETTINGS).propose(31, history)


def test_the_seed_of_the_task_matters():
    first, second = (search(make_task(seed=seed), SETTINGS, 16)[0] for seed in (0, 1))
    assert [t.widths for t in first[:12]] != [t.widths for t in second[:12]]


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("surrogate", [True, False])
def test_nothing_is_proposed_twice_and_all_is_within_the_constraints(name, surrogate):
    settings = SearchSettings(
        min_evaluated=12, refit_every=6, population_size=8, surrogate=surrogate
    )
    task = TASKS[name]()
    trials, _ = search(task, settings, 40, n_workers=4)
    widths = [trial.widths for trial in trials]
    assert len(set(widths)) == len(widths)
    assert all(task.is_feasible(w) for w in widths)
    assert [task.space.canonical(w) for w in widths] == widths


def test_workers_that_ask_at_the_same_time_get_different_subnets():
    task = make_task()
    trials = sample_trials(task, 30)
    history, planner = make_history(task, trials), Planner(task, SETTINGS)
    for number in range(30, 70):
        history.start(number, planner.propose(number, history))
    proposed = list(history.in_flight.values())
    assert len(set(proposed)) == 40
    assert not set(proposed) & {trial.widths for trial in trials}


def test_a_planner_that_begins_amid_many_workers_proposes_what_the_others_would():
    task = make_task()
    history, planner = make_history(task, sample_trials(task, 30)), Planner(task, SETTINGS)
    for number in range(30, 70):
        proposed = planner.propose(number, history)
        if number in {52, 69}:
            assert Planner(task, SETTINGS).propose(number, history) == proposed, number
        history.start(number, proposed)


def test_what_failed_is_not_proposed_again():
    task = make_task()
    trials = sample_trials(task, 30)
    history, planner = make_history(task, trials), Planner(task, SETTINGS)
    first = planner.propose(30, history)
    history.add(replace(finish(task, 30, first, "failed"), values=None))
    assert planner.propose(31, history) != first
    assert planner.propose(32, history) == planner.propose(31, history)


def test_audited_trials_are_children_that_were_not_screened():
    task = make_task()
    settings = SearchSettings(min_evaluated=12, audit_share=0.3)
    unscreened = Planner(task, SearchSettings(min_evaluated=12, surrogate=False))
    screened = Planner(task, settings)
    history = make_history(task, sample_trials(task, 40))
    best = set()
    for number in range(40, 80):
        proposed = screened.propose(number, history)
        if is_audit(task.seed, number, settings):
            assert proposed == unscreened.propose(number, history)
        else:
            best.add(proposed)
    # All others are the one subnet that promises most.
    assert len(best) == 1


def test_every_subnet_of_a_small_space_is_proposed_once_and_then_one_of_them_again():
    for constraints, sizes in (({}, (2, 2, 2)), ({}, (2, 2, 3)), ({"macs": "<= 60%"}, (3, 3, 3))):
        rungs = tuple(tuple(range(4, 4 + 4 * n, 4)) for n in sizes)
        task = make_task(WidthSpace(("a", "b", "c"), rungs), constraints=constraints)
        feasible = list_feasible(task)
        trials, _ = search(
            task, SearchSettings(min_evaluated=10, refit_every=4), len(feasible) + 2
        )
        proposed = [trial.widths for trial in trials]
        assert len(proposed) == len(feasible) + 2
        assert set(proposed[: len(feasible)]) == feasible
        assert set(proposed) == feasible


def measure_hypervolume(task, trials, reference):
    return compute_hypervolume(make_history(task, trials).minimize_all(trials), reference)


def test_a_search_comes_close_to_a_front_that_is_known():
    task = make_task()
    everything = [finish(task, i, widths) for i, widths in enumerate(list_feasible(task))]
    reference = np.array([0.0, task.measure_footprint(task.space.full)["macs"]])
    best = measure_hypervolume(task, everything, reference)
    screened, _ = search(task, SETTINGS, 60)
    assert measure_hypervolume(task, screened, reference) > 0.985 * best
    drawn = sample_trials(task, 60)
    assert measure_hypervolume(task, drawn, reference) < 0.97 * best


def test_where_all_is_exact_the_front_is_found_without_learning():
    space = make_space(3, 6)
    capacity = Objective(
        "capacity", "maximize", lambda widths: compute_accuracy(widths, space), "footprint"
    )
    task = make_task(space, objectives=(capacity, Macs()))
    everything = [finish(task, i, widths) for i, widths in enumerate(list_feasible(task))]
    whole = make_history(task, everything)
    settings = SearchSettings(min_evaluated=10, refit_every=6, surrogate=False, audit_share=0.0)
    trials, planner = search(task, settings, 10 + len(whole.front))
    assert planner.fitter.find_surrogate(make_history(task, trials)) is None
    # What is proposed after the first ten is on the front, nearly all of it.
    assert np.mean([not whole.is_beaten(trial.values) for trial in trials[10:]]) > 0.8
    found = {trial.values for trial in trials if not whole.is_beaten(trial.values)}
    assert len(found) > 0.8 * len(whole.front)


def test_three_objectives_are_searched_together():
    depth = Objective("depth", "minimize", lambda widths: float(widths.active[1]), "footprint")
    task = make_task(objectives=(ACCURACY, Macs(), depth))
    full = task.measure_footprint(task.space.full)
    reference = np.array([0.0, full["macs"], full["depth"]])
    settings = SearchSettings(min_evaluated=14, refit_every=30, audit_share=0.0)
    screened, _ = search(task, settings, 30)
    assert len({trial.widths for trial in screened}) == 30
    found = [measure_hypervolume(task, t, reference) for t in (screened, sample_trials(task, 30))]
    assert found[0] > found[1]


def test_two_measured_objectives_of_which_one_is_minimised():
    error = Objective("error", "minimize", lambda subnet: 0.0)
    space = make_space()
    task = make_task(space, objectives=(error, Objective("other", "maximize", lambda s: 0.0)))

    def evaluate(widths):
        return {"error": 1 - compute_accuracy(widths, space), "other": -float(widths.active[0])}

    object.__setattr__(task, "evaluate", evaluate)
    screened, _ = search(task, SETTINGS, 36)
    reference = np.array([1.0, 17.0])
    found = [measure_hypervolume(task, t, reference) for t in (screened, sample_trials(task, 36))]
    assert found[0] > found[1]


def test_a_bound_on_a_measured_objective_is_aimed_at():
    task = make_task(constraints={"accuracy": ">= 0.9"})
    drawn = np.mean([trial.violation <= 0 for trial in sample_trials(task, 300)])
    settings = SearchSettings(min_evaluated=12, refit_every=6, audit_share=0.0)
    trials, _ = search(task, settings, 36)
    late = np.mean([trial.violation <= 0 for trial in trials[20:]])
    assert drawn < 0.3
    assert late > 0.6
