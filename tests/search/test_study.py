from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import compute_accuracy
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import RunFolderError
from dpod_search.errors import TrainingError
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import Params
from dpod_search.search import Proposal
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study
from dpod_search.search.identity import bind_study
from dpod_search.search.store import attributes
from dpod_search.search.store.space import params_of


SETTINGS = SearchSettings(
    n_trials=60, population_size=12, min_evaluated=20, audit_share=0.3, surrogate=False
)


def start(task, settings=SETTINGS, storage=None, name="study"):
    return open_study(name, storage, task.objectives, make_sampler(settings, task))


def describe(study):
    return [
        (
            t.number,
            t.params,
            t.values,
            t.state,
            {k: v for k, v in t.user_attrs.items() if k != attributes.SECONDS},
            {k: v for k, v in t.system_attrs.items() if k != attributes.WORKER},
        )
        for t in study.get_trials(deepcopy=False)
    ]


def test_the_same_seed_gives_the_same_study():
    task = make_task()
    studies = [start(task), start(task)]
    for study in studies:
        run_study(study, task, replace(SETTINGS, surrogate=True))
    assert describe(studies[0]) == describe(studies[1])


def test_another_seed_gives_another_study():
    studies = []
    for seed in (0, 1):
        task = make_task(seed=seed)
        studies.append(start(task))
        run_study(studies[-1], task, SETTINGS)
    assert describe(studies[0]) != describe(studies[1])


def test_optunas_global_generator_is_left_alone():
    task = make_task()
    study = start(task)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    run_study(study, task, replace(SETTINGS, n_trials=5))
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_seeds_come_first_in_order_and_join_generation_0():
    task = make_task()
    study = start(task)
    seeds = propose_seeds(ProposalRequest(task, SETTINGS, path=[task.space.full]))
    result = run_study(study, task, SETTINGS, [*seeds, *seeds])
    first = result.trials[: len(seeds)]
    assert [t.widths for t in first] == [s.widths for s in seeds]
    assert [t.source for t in first] == ["path"] + ["ladder"] * (len(seeds) - 1)
    assert {t.generation for t in first} == {0}
    assert result.trials[len(seeds)].source == "sampler"
    assert len(result.trials) == SETTINGS.n_trials
    assert max(t.generation for t in result.trials) >= 3


def test_a_seed_that_somebody_has_tried_is_not_tried_again():
    task = make_task()
    settings = replace(SETTINGS, n_trials=12)
    seeds = propose_seeds(ProposalRequest(task, settings))
    study = start(task)
    study.enqueue_trial(params_of(seeds[2].widths, task.space))
    bind_study(study, task, settings, seeds)
    result = run_study(study, task, settings, seeds)
    expected = [seeds[2], *seeds[:2], *seeds[3:]]
    assert [t.widths for t in result.trials[: len(seeds)]] == [s.widths for s in expected]
    assert result.counts["cached"] == 0


def test_enqueued_trials_are_taken_first_and_the_rest_of_their_parameters_is_proposed():
    task = make_task()
    study = start(task)
    run_study(study, task, replace(SETTINGS, n_trials=20))
    study.enqueue_trial({"group0": 3})
    study.enqueue_trial({"group0": 8, "group1": 1, "group2": 2, "group3": 3})
    run_study(study, task, replace(SETTINGS, n_trials=23))
    assert study.trials[20].params["group0"] == 3
    assert study.trials[21].params == {"group0": 8, "group1": 1, "group2": 2, "group3": 3}
    assert len(study.trials) == 23
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_a_finished_study_is_left_alone_and_more_trials_continue_it():
    task = make_task()
    once = start(task)
    run_study(once, task, SETTINGS)
    again = start(task)
    for n_trials in (10, 10, 25, 60):
        run_study(again, task, replace(SETTINGS, n_trials=n_trials))
        assert len(again.trials) == n_trials
    assert describe(once) == describe(again)


def test_more_seeds_than_trials_are_queued_when_there_is_room():
    task = make_task()
    settings = replace(SETTINGS, n_trials=3)
    seeds = propose_seeds(ProposalRequest(task, settings))
    study = start(task)
    run_study(study, task, settings, seeds)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 3
    result = run_study(study, task, replace(settings, n_trials=12), seeds)
    assert [t.widths for t in result.trials[: len(seeds)]] == [s.widths for s in seeds]


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_every_sampler_runs(sampler):
    task = make_task(constraints={"macs": "<= 50%"})
    settings = replace(SETTINGS, n_trials=30, sampler=sampler)
    result = run_study(start(task, settings), task, settings)
    assert sum(result.counts.values()) == 30
    assert len(result.front) >= 3


def test_every_feasible_subnet_is_tried_before_any_is_repeated():
    task = make_task(make_space(3, 4), constraints={"macs": "<= 30%"})
    n_rungs = task.space.n_rungs
    n_feasible = sum(task.is_feasible(task.space.from_rungs(i)) for i in np.ndindex(*n_rungs))
    result = run_study(start(task), task, replace(SETTINGS, n_trials=n_feasible))
    assert result.counts["evaluated"] == n_feasible
    assert len({t.widths for t in result.trials}) == n_feasible


def test_a_space_that_is_used_up_ends_in_cached_trials_not_in_a_loop():
    task = make_task(make_space(2, 2))
    result = run_study(start(task), task, replace(SETTINGS, n_trials=9))
    assert result.counts["evaluated"] == 4
    assert result.counts["cached"] == 5
    assert len(result.front) <= 4
    cached = [t for t in result.trials if t.fate == "cached"]
    assert all("has the same widths" in t.reason for t in cached)
    space = task.space
    assert all(t.values["accuracy"] == compute_accuracy(t.widths, space) for t in cached)


def test_constraints_are_stored_where_the_dashboard_looks():
    # When this fails because trial.set_constraint is read by the dashboard, use it instead.
    task = make_task(constraints={"macs": "<= 50%", "params": "<= 1k"})
    study = start(task)
    seeds = [Proposal(task.space.full, "path")]
    run_study(study, task, replace(SETTINGS, n_trials=4), seeds)
    full = study.trials[0]
    macs = task.measure_footprint(task.space.full)["macs"]
    assert full.state == TrialState.PRUNED
    assert full.user_attrs["fate"] == "pruned-constraint"
    assert "macs" in full.user_attrs["reason"]
    assert full.system_attrs["constraints"][0] == pytest.approx((macs - macs / 2) / (macs / 2))
    assert set(full.constraints) == {"0", "1"}
    assert all(t.constraints["0"] <= 0 for t in study.trials[1:])


def test_a_bound_out_of_reach_is_an_infeasible_error_in_one_line():
    task = make_task(constraints={"macs": "<= 10"})
    smallest = ChainFootprint().measure(task.space.smallest)["macs"]
    with pytest.raises(InfeasibleError, match=rf"macs <= 10 .*the smallest has {smallest:,}") as e:
        run_study(start(task), task, SETTINGS)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails_the_trial_and_the_search_goes_on(bad):
    good = make_task()
    calls = []

    def evaluate(widths):
        calls.append(widths)
        return {"accuracy": bad} if len(calls) % 5 == 0 else good.evaluate(widths)

    task = replace(good, evaluate=evaluate)
    study = start(task)
    result = run_study(study, task, replace(SETTINGS, n_trials=20))
    assert result.counts["failed"] == 4
    assert result.trials[4].reason == f"objective accuracy is {bad}"
    assert study.trials[4].state == TrialState.FAIL


@pytest.mark.parametrize("bad", ["0.9", None, True, [0.5]])
def test_a_value_that_is_no_number_names_the_objective(bad):
    task = replace(make_task(), evaluate=lambda widths: {"accuracy": bad})
    with pytest.raises(ConfigError, match="objective accuracy must return a number"):
        run_study(start(task), task, SETTINGS)


def test_a_missing_value_names_the_objective():
    task = replace(make_task(), evaluate=lambda widths: {})
    with pytest.raises(ConfigError, match="objective accuracy was not measured"):
        run_study(start(task), task, SETTINGS)


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_an_error_in_an_objective_stops_the_search_and_its_trial_is_run_again(sampler):
    settings = replace(SETTINGS, sampler=sampler)
    good = make_task()
    whole = start(good, settings)
    run_study(whole, good, settings)

    def fail(widths):
        raise TrainingError("broken")

    study = start(good, settings)
    run_study(study, good, replace(settings, n_trials=20))
    with pytest.raises(TrainingError):
        run_study(study, replace(good, evaluate=fail), replace(settings, n_trials=30))
    states = [trial.state for trial in study.trials]
    assert states[:20] == [TrialState.COMPLETE] * 20
    # Our own sampler's trials need not be in the storage before they end; others' are.
    assert states[20:] == ([] if sampler == "nsga2" else [TrialState.RUNNING])
    run_study(study, good, settings)
    assert describe(study) == describe(whole)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"space": make_space(5)}, "space"),
        ({"constraints": {"macs": "<= 50%"}}, "constraints"),
        ({"seed": 1}, "random seed"),
        ({"objectives": (ACCURACY, Params())}, "objectives"),
    ],
)
def test_a_study_is_not_resumed_as_another_one(change, name):
    task = make_task()
    study = start(task)
    run_study(study, task, replace(SETTINGS, n_trials=3))
    with pytest.raises(RunFolderError, match=f"other {name}: ") as error:
        run_study(study, replace(task, **change), SETTINGS)
    assert "\n" not in str(error.value)


def test_a_study_is_not_resumed_with_other_seeds():
    task = make_task()
    study = start(task)
    run_study(study, task, replace(SETTINGS, n_trials=3))
    with pytest.raises(
        RunFolderError, match="other subnets to try first: it had 0 entries, now 1"
    ):
        run_study(study, task, SETTINGS, [Proposal(task.space.full, "path")])


def test_a_study_of_other_objectives_is_not_opened():
    task = make_task()
    study = start(task)
    with pytest.raises(RunFolderError, match="directions"):
        open_study("study", study._storage, [Macs(), ACCURACY], study.sampler)
    run_study(study, task, replace(SETTINGS, n_trials=1))
    with pytest.raises(RunFolderError, match="other objectives"):
        open_study("study", study._storage, [ACCURACY, Params()], study.sampler)


def test_a_study_made_by_something_else_is_refused():
    task = make_task()
    study = start(task)
    study.ask()
    with pytest.raises(RunFolderError, match="did not make"):
        run_study(study, task, SETTINGS)


def test_metric_names_are_the_objectives():
    task = make_task()
    assert start(task).metric_names == ["accuracy", "macs"]


def test_objectives_may_all_be_footprints():
    task = make_task(objectives=(Macs(), Params()))
    result = run_study(start(task), task, replace(SETTINGS, n_trials=10, surrogate=True))
    assert result.counts["evaluated"] == 10
    assert result.full["params"] == ChainFootprint().measure(task.space.full)["params"]


def test_a_footprint_of_the_users_own_is_an_objective_and_can_be_bounded():
    depth = Objective("widest", "minimize", lambda widths: max(widths.active), "footprint")
    task = make_task(objectives=(ACCURACY, depth), constraints={"widest": "<= 20"})
    result = run_study(start(task), task, replace(SETTINGS, n_trials=10))
    assert all(max(t.widths.active) <= 20 for t in result.trials)
    assert all(t.values["widest"] == max(t.widths.active) for t in result.trials)


def test_the_full_net_is_measured_even_if_a_constraint_keeps_it_out():
    task = make_task(constraints={"macs": "<= 30%"})
    result = run_study(start(task), task, replace(SETTINGS, n_trials=5))
    assert result.full["accuracy"] == compute_accuracy(task.space.full, task.space)


def test_progress_is_told_of_every_trial():
    class Heard:
        def __init__(self):
            self.calls = []

        def start(self, task, total, done=0):
            self.calls.append(("start", task, total, done))

        def advance(self, n=1, note=""):
            self.calls.append(("advance", n))

        def finish(self):
            self.calls.append(("finish",))

    heard = Heard()
    task = make_task()
    study = start(task)
    run_study(study, task, replace(SETTINGS, n_trials=2))
    run_study(study, task, replace(SETTINGS, n_trials=5), progress=heard)
    assert heard.calls == [("start", "search", 5, 2), *[("advance", 1)] * 3, ("finish",)]


def test_a_search_ends_with_its_evaluated_subnets_and_goes_on_with_more():
    task = make_task()
    settings = replace(SETTINGS, n_trials=500, n_evaluated=15)
    study = start(task, settings)
    assert run_study(study, task, settings).counts["evaluated"] == 15
    assert run_study(study, task, settings).counts["evaluated"] == 15
    more = replace(settings, n_evaluated=20)
    assert run_study(study, task, more).counts["evaluated"] == 20


def test_a_search_ends_with_its_seconds():
    task = make_task()
    settings = replace(SETTINGS, n_trials=10**6, seconds=0.5)
    study = start(task, settings)
    first = run_study(study, task, settings)
    assert 0 < len(first.trials) < 10**6
    again = run_study(study, task, settings)
    assert len(again.trials) == len(first.trials)


def test_a_search_that_gains_nothing_more_ends():
    # With the same accuracy everywhere only the smallest subnet matters.
    task = replace(make_task(), evaluate=lambda widths: {"accuracy": 0.5})
    settings = replace(SETTINGS, n_trials=500, stall=20)
    seeds = [Proposal(task.space.full, "user"), Proposal(task.space.smallest, "user")]
    result = run_study(start(task), task, settings, seeds)
    assert len(result.trials) == 22


def test_a_full_net_measured_wrongly_is_measured_again_once_its_objective_is_mended():
    task = make_task(constraints={"accuracy": ">= 90%"})
    broken, study = replace(task, evaluate=lambda widths: {"accuracy": 0.0}), start(task)
    with pytest.raises(ConfigError, match="give a number instead of a percentage"):
        run_study(study, broken, SETTINGS)
    assert run_study(study, task, SETTINGS).front


@pytest.mark.parametrize("bound", [">= 0.9", ">= 90%"])
def test_a_bound_on_what_is_measured_keeps_trials_off_the_front(bound):
    task = make_task(constraints={"accuracy": bound})
    settings = replace(SETTINGS, n_trials=60)
    result = run_study(start(task, settings), task, settings)
    limit = 0.9 * (result.full["accuracy"] if "%" in bound else 1)
    accuracies = [trial.values["accuracy"] for trial in result.trials if trial.values]
    assert min(accuracies) < limit
    assert result.front
    assert all(member.values["accuracy"] >= limit for member in result.front)
    # What is screened is expected to be within the bound.
    late = [t.values["accuracy"] for t in result.trials[40:] if t.values and not t.is_audit]
    assert np.mean(np.array(late) >= limit) > np.mean(np.array(accuracies[:20]) >= limit)


@pytest.mark.filterwarnings("ignore:Fixed parameter group0 with value 99")  # Optuna's own
@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_what_others_put_into_a_study_does_not_stop_it(sampler):
    task = make_task()
    settings = replace(SETTINGS, n_trials=12, sampler=sampler)
    study = start(task, settings)
    run_study(study, task, settings)
    study.enqueue_trial({"group0": 99, "group1": 2, "no such group": 1})
    study.tell(study.ask(), state=TrialState.FAIL)  # the queued one: it ends without parameters
    study.enqueue_trial({"group0": 99, "group1": 2, "no such group": 1})
    more = replace(settings, n_trials=15)
    result = run_study(study, task, more)
    assert len(result.trials) == 15
    assert all(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    queued = study.get_trials(deepcopy=False)[13]
    # Ours leaves what is no rung to itself; of Optuna's own such a trial fails.
    assert queued.state == (TrialState.COMPLETE if sampler == "nsga2" else TrialState.FAIL)
    assert queued.params["group1"] == 2
