from __future__ import annotations

import math

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import compute_accuracy
from search.fakes import finish
from search.fakes import make_history
from search.fakes import make_space
from search.fakes import make_task
from search.fakes import sample_trials

from dpod_search.pareto import compute_hypervolume
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import SearchTask
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.screening import Known
from dpod_search.search.plan.screening import ObjectiveAxes
from dpod_search.search.plan.screening import Screen
from dpod_search.search.plan.surrogate import Surrogate
from dpod_search.search.plan.variation import breed
from dpod_search.search.plan.variation import select_best
from dpod_search.widths import WidthSpace


def make_elite(task, trials, n=16):
    points = ObjectiveAxes(task).place(np.array([trial.values for trial in trials]))
    penalties = np.array([trial.violation for trial in trials])
    best = select_best(points, penalties, n)
    rungs = Lattice(task).from_widths([trials[i].widths for i in best])
    return Known(rungs, points[best], penalties[best])


def choose(task, trials, *, n=10, is_new=None, seed=0, surrogate=True):
    lattice = Lattice(task)
    known = {trial.widths for trial in trials}
    chosen = Screen(task, lattice, ObjectiveAxes(task)).choose(
        make_elite(task, trials),
        np.array([trial.values for trial in trials if trial.violation <= 0]).reshape(
            -1, len(task.objectives)
        ),
        Surrogate(task, trials, confidence=0.9) if surrogate else None,
        n=n,
        is_new=is_new or (lambda rungs: lattice.to_widths(rungs) not in known),
        rng=np.random.default_rng(seed),
    )
    return [lattice.to_widths(rungs) for rungs in chosen]


def measure(task, trials):
    history = make_history(task, trials)
    reference = np.array([0.0, task.measure_footprint(task.space.full)["macs"]])
    return compute_hypervolume(history.minimize_all(trials), reference)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_chosen_is_better_than_children_that_were_not_screened(seed):
    """Compare the front after ten screened and after ten plain children of the same parents."""
    task = make_task(make_space(6))
    trials = sample_trials(task, 30, seed=seed)
    elite, sizes = make_elite(task, trials), Lattice(task).sizes
    rng = np.random.default_rng(seed)
    children = breed(elite.rungs, sizes, 10, rng)
    plain = [task.space.from_rungs(row) for row in children]
    gains = [
        measure(task, [*trials, *(finish(task, 0, widths) for widths in chosen)])
        - measure(task, trials)
        for chosen in (choose(task, trials, seed=seed), plain)
    ]
    assert gains[0] > 1.5 * gains[1] >= 0


def test_the_choice_is_new_distinct_and_follows_from_its_seed():
    task = make_task()
    trials = sample_trials(task, 20)
    chosen = choose(task, trials, n=7)
    assert len(set(chosen)) == 7
    assert not set(chosen) & {trial.widths for trial in trials}
    assert choose(task, trials, n=7) == chosen
    # To ask for more adds to the end.
    assert choose(task, trials, n=20)[:7] == chosen
    refused = set(chosen[:3])
    lattice = Lattice(task)
    others = choose(task, trials, is_new=lambda rungs: lattice.to_widths(rungs) not in refused)
    assert not refused & set(others)


def test_there_is_nothing_to_choose_once_all_is_known():
    task = make_task(WidthSpace(("a", "b"), ((4, 8, 12, 16), (4, 8, 12, 16))))
    lattice = Lattice(task)
    rungs = np.argwhere(np.ones((4, 4)))
    trials = [finish(task, i, lattice.to_widths(row)) for i, row in enumerate(rungs)]
    assert choose(task, trials) == []


def test_bounds_hold_for_all_that_is_chosen():
    task = make_task(make_space(6), constraints={"macs": "<= 10%"})
    trials = [t for t in sample_trials(task, 3000) if task.is_feasible(t.widths)][:20]
    assert len(trials) == 20
    chosen = choose(task, trials, n=100)
    assert len(chosen) > 20
    assert all(map(task.is_feasible, chosen))
    # Without the bound it would have gone beyond it.
    assert not all(map(task.is_feasible, choose(make_task(make_space(6)), trials, n=100)))


def test_a_bound_on_accuracy_is_hoped_to_be_met_by_all_that_is_chosen():
    free, task = make_task(), make_task(constraints={"accuracy": ">= 0.9"})
    trials = sample_trials(task, 40)
    met = [
        np.mean([compute_accuracy(widths, task.space) >= 0.9 for widths in chosen])
        for chosen in (choose(task, trials), choose(free, sample_trials(free, 40)))
    ]
    assert met[0] >= 0.8
    assert met[1] < met[0]


def test_a_share_of_what_was_not_measured_yet_bounds_nothing():
    free, task = make_task(), make_task(constraints={"accuracy": ">= 90%"})
    trials = sample_trials(free, 40)
    assert choose(task, trials) == choose(free, trials)


def test_a_search_whose_trials_all_violate_a_bound_is_led_towards_it():
    task = make_task(constraints={"accuracy": ">= 0.9"})
    trials = [t for t in sample_trials(task, 200) if t.values[0] < 0.9][:25]
    assert all(trial.violation > 0 for trial in trials)
    found = [compute_accuracy(widths, task.space) for widths in choose(task, trials)]
    assert found
    assert np.mean([accuracy >= 0.9 for accuracy in found]) > 0.5


def test_the_unit_of_what_is_bounded_does_not_matter():
    chosen, space = [], make_space()
    for unit in (1e-6, 1.0, 1e6):
        error = Objective("error", "minimize", lambda subnet: 0.0)
        task = SearchTask(
            space,
            (error, Macs()),
            ChainFootprint(),
            lambda widths, unit=unit: {"error": unit * (1 - compute_accuracy(widths, space))},
            {"error": f"<= {0.02 * unit:.8f}"},
        )
        trials = sample_trials(task, 30)
        assert min(trial.violation for trial in trials) > 0
        chosen.append(choose(task, trials))
    assert chosen[0] == chosen[1] == chosen[2]


def test_a_footprint_without_a_value_is_not_for_the_screen():
    def own(widths):
        return math.nan if widths["group1"] < 16 else float(widths["group1"])

    objectives = (ACCURACY, Objective("own", "minimize", own, "footprint"))
    task = make_task(objectives=objectives)
    trials = [t for t in sample_trials(task, 80) if not math.isnan(t.values[1])][:20]
    chosen = choose(task, trials)
    assert chosen
    assert not any(math.isnan(own(widths)) for widths in chosen)


def test_removed_blocks_make_no_second_subnet_of_one():
    space = WidthSpace(
        ("stem", "block", "a"),
        ((4, 8, 12, 16), (0, 1), (4, 8, 12, 16)),
        inside=(("block", ("a",)),),
    )
    # The wider the better, also where the width means nothing.
    inside = Objective("inside", "maximize", lambda widths: float(widths["a"]), "footprint")
    task = make_task(space, objectives=(Macs(), inside))
    trials = [
        finish(task, i, space.canonical(t.widths)) for i, t in enumerate(sample_trials(task, 12))
    ]
    chosen = choose(task, trials, n=30, surrogate=False)
    assert chosen
    assert [space.canonical(widths) for widths in chosen] == chosen
    assert len(set(chosen)) == len(chosen)


def test_what_is_exact_needs_no_surrogate():
    space = make_space(3, 5)
    capacity = Objective("capacity", "maximize", lambda w: compute_accuracy(w, space), "footprint")
    task = make_task(space, objectives=(capacity, Macs()))
    trials = sample_trials(task, 10)
    history = make_history(task, trials)
    chosen = choose(task, trials, surrogate=False)
    assert len(chosen) == 10
    assert not any(history.is_beaten(finish(task, 0, widths).values) for widths in chosen)


def test_axes_are_minimized_and_costs_are_logarithms():
    own = Objective("own", "minimize", lambda widths: float(widths.active[0] - 2), "footprint")
    kept = Objective("kept", "maximize", lambda widths: 2.0, "footprint")
    axes = ObjectiveAxes(make_task(objectives=(ACCURACY, Macs(), own, kept)))
    # "own" is 0 at the smallest subnet, so it has no logarithm.
    values = np.array([[0.5, 8.0, 3.0, 2.0], [0.25, 16.0, 0.0, 4.0]])
    np.testing.assert_allclose(axes.place(values), [[-0.5, 3, 3, -2], [-0.25, 4, 0, -4]])
    np.testing.assert_allclose(axes.place(values[None])[0], axes.place(values))


def test_known_subnets_are_selected_and_joined_row_by_row():
    known = Known(np.arange(6).reshape(3, 2), np.arange(3.0)[:, None], np.array([0.0, 1, 2]))
    joined = Known.join([known.select(np.array([2, 0])), known.select(np.array([1]))])
    assert joined.rungs.tolist() == [[4, 5], [0, 1], [2, 3]]
    assert joined.points[:, 0].tolist() == joined.penalties.tolist() == [2, 0, 1]
