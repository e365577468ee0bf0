from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.errors import ConfigError
from dpod_search.search import SearchSettings
from dpod_search.search.plan.planner import Planner
from dpod_search.search.samplers.adapting import GroupParameters
from dpod_search.search.samplers.adapting import Parameters
from dpod_search.search.samplers.adapting import StudyView
from dpod_search.search.samplers.adapting import make_plain_task
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.widths import WidthSpace


KEY = "generation"
DISTRIBUTIONS = {"x": IntDistribution(4, 20, step=4), "y": IntDistribution(-3, 3)}


def make_view(directions=("maximize", "minimize")):
    study = optuna.create_study(directions=list(directions))
    return study, StudyView(study, KEY)


def test_integer_parameters_are_groups_and_their_values_are_counted_from_one():
    parameters = Parameters.of(DISTRIBUTIONS)
    assert parameters.space.names == ("x", "y")
    assert parameters.space.rungs == (tuple(range(1, 6)), tuple(range(1, 8)))
    params = {"x": 12, "y": -3}
    widths = parameters.to_widths(params)
    assert widths.active == (3, 1)
    assert parameters.to_params(widths) == params


@pytest.mark.parametrize(
    "params", [{"x": 4}, {"x": 5, "y": 0}, {"x": 4, "y": 9}, {"x": 4, "y": "a"}]
)
def test_trials_with_other_parameters_stand_for_nothing(params):
    assert Parameters.of(DISTRIBUTIONS).to_widths(params) is None


@pytest.mark.parametrize(
    "other",
    [
        FloatDistribution(0, 1),
        IntDistribution(1, 9, log=True),
        CategoricalDistribution(["a", "b"]),
    ],
)
def test_only_evenly_spaced_integers_are_a_lattice(other):
    assert Parameters.of({**DISTRIBUTIONS, "z": other}) is None
    assert Parameters.of({}) is None


def test_parameters_of_a_task_are_rungs_of_one_subnet():
    space = WidthSpace(
        ("stem", "block", "a"), ((4, 8), (0, 1), (2, 4)), inside=(("block", ("a",)),)
    )
    parameters = GroupParameters(space)
    found = parameters.to_widths({"stem": 2, "block": 1, "a": 2})
    assert found.active == (8, 0, 2)
    assert parameters.to_params(found) == {"stem": 2, "block": 1, "a": 1}
    assert parameters.to_widths({"stem": 2, "block": 1}) is None
    assert parameters.to_widths({"stem": 2, "block": 3, "a": 1}) is None


def test_of_a_plain_task_nothing_is_known_before_a_trial_has_run():
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    task = make_plain_task(make_space(), directions, seed=3)
    assert task.directions == ["maximize", "minimize"]
    assert len(task.measured) == 2
    assert task.measure_footprint(task.space.full) == {}
    assert task.seed == 3
    with pytest.raises(ConfigError, match="the study has no direction"):
        make_plain_task(make_space(), [StudyDirection.NOT_SET], seed=0)


def test_generations_are_counted_by_the_trials_that_completed():
    study, view = make_view()
    found = []
    for number in range(9):
        view.refresh()
        found.append(view.generations.find_current(3))
        study.enqueue_trial({})
        trial = study.ask()
        study._storage.set_trial_system_attr(trial._trial_id, KEY, found[-1])
        if number == 1:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, [0.0, 0.0])
    assert found == [0, 0, 0, 0, 1, 1, 1, 2, 2]


def ask(study, task, widths):
    study.enqueue_trial(params_of(widths, task.space))
    return study.ask(make_distributions(task.space))


class Noting(Planner):
    """Proposes the full net, and keeps what it was told."""

    def propose(self, number, history):
        self.known = {
            "measured": [trial.number for trial in history.measured],
            "in flight": dict(history.in_flight),
            "n": history.n_finished,
            "violations": [trial.violation for trial in history.measured],
        }
        return self.task.space.full


def test_a_planner_is_told_of_every_trial_once_and_of_those_in_flight_that_began_before():
    task = make_task()
    study, view = make_view(task.directions)
    planner = Noting(task, SearchSettings())
    made = []

    def look():
        made.append(planner)
        return GroupParameters(task.space), planner

    def propose(number):
        view.refresh()
        view.search(make_distributions(task.space), look)
        return view.propose(number)

    trials = [ask(study, task, task.space.uniform(i / 5)) for i in range(1, 5)]
    study.tell(trials[0], [0.5, 1.0])
    study.tell(trials[1], state=optuna.trial.TrialState.FAIL)
    assert propose(3) == params_of(task.space.full, task.space)
    assert planner.known == {
        "measured": [0],
        "in flight": {2: task.space.uniform(3 / 5)},
        "n": 2,
        "violations": [0],
    }
    study.tell(trials[2], [0.6, 2.0])
    propose(4)
    assert planner.known["measured"] == [0, 2]
    assert planner.known["in flight"] == {3: task.space.uniform(4 / 5)}
    assert planner.known["n"] == 3
    assert made == [planner]


def test_without_a_planner_nothing_is_proposed():
    _, view = make_view()
    view.refresh()
    view.search(DISTRIBUTIONS, lambda: (None, None))
    assert view.propose(0) is None


def test_a_change_of_parameters_begins_a_new_history():
    study, view = make_view(["minimize"])
    trial = study.ask(DISTRIBUTIONS)
    study.tell(trial, 1.0)
    planners = []

    def look(distributions):
        parameters = Parameters.of(distributions)
        planners.append(
            Noting(make_plain_task(parameters.space, study.directions, 0), SearchSettings())
        )
        return parameters, planners[-1]

    for distributions in (DISTRIBUTIONS, {"x": DISTRIBUTIONS["x"]}, {"z": IntDistribution(1, 2)}):
        view.refresh()
        view.search(distributions, lambda d=distributions: look(d))
        assert set(view.propose(1)) == set(distributions)
    # The trial has no z: to the last planner it is unknown.
    assert [planner.known["measured"] for planner in planners] == [[0], [0], []]
