from __future__ import annotations

from collections import Counter
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.errors import RunFolderError
from dpod_search.search import Objective
from dpod_search.search import Proposal
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import run_study


SETTINGS = SearchSettings(n_trials=12, surrogate=False)


def start(task, storage, settings=SETTINGS):
    return open_study("study", storage, task.objectives, make_sampler(settings, task))


def test_a_footprint_below_zero_is_a_gain_and_no_stall():
    def own(widths):
        return 0.2 if widths == space.full else -1.0 - sum(widths.values()) / 1000

    space = make_space()
    task = make_task(space, objectives=(Objective("own", "minimize", own, "footprint"),))
    seeds = [Proposal(widths, "user") for widths in (space.full, space.smallest)]
    settings = replace(SETTINGS, n_trials=3, stall=1)
    # The first has a logarithm, which is below the second's value.
    result = run_study(start(task, None, settings), task, settings, seeds)
    assert len(result.trials) == 3


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_worker_among_others_loses_no_trial_that_a_gate_stops(kind, tmp_path):
    storage = str(tmp_path / "journal") if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    task = make_task(constraints={"macs": "<= 40%"})
    full = Proposal(task.space.full, "user")
    study = start(task, storage)
    result = run_study(study, task, SETTINGS, [full], is_shared=True)
    assert result.counts["pruned-constraint"] == 1
    assert [trial.number for trial in result.trials] == list(range(12))


def test_what_a_gate_stops_is_written_before_another_worker_may_look(tmp_path):
    task = make_task(constraints={"macs": "<= 40%"})
    storage = str(tmp_path / "journal")
    seen = []

    def evaluate(widths):
        # As another worker sees it, while this one is at the next trial.
        trials = start(task, storage).get_trials(deepcopy=False)
        seen.append(Counter(trial.user_attrs.get("fate") for trial in trials))
        return task.evaluate(widths)

    told = replace(task, evaluate=evaluate)
    full = Proposal(task.space.full, "user")
    run_study(start(told, storage), told, SETTINGS, [full], is_shared=True)
    assert [counts["pruned-constraint"] for counts in seen[:-1]] == [1] * 11
    assert [counts["evaluated"] for counts in seen[:-1]] == list(range(11))


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_trial_that_somebody_ends_meanwhile_is_left_as_they_ended_it(kind, sampler, tmp_path):
    storage = str(tmp_path / "journal") if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    settings = replace(SETTINGS, sampler=sampler)
    task = make_task()
    n_asked = 0

    def evaluate(widths):
        nonlocal n_asked
        n_asked += 1
        if n_asked == 3:  # as a person does who takes the trial for one that hangs
            study = optuna.load_study(study_name="study", storage=open_storage(storage))
            [running] = study.get_trials(states=[TrialState.RUNNING])
            study.tell(running.number, state=TrialState.FAIL)
        return task.evaluate(widths)

    told = replace(task, evaluate=evaluate)
    result = run_study(start(told, storage, settings), told, settings, is_shared=True)
    assert [trial.fate for trial in result.trials].index("failed") == 2
    assert result.counts["failed"] == 1
    assert len(run_study(start(task, storage, settings), task, settings).trials) == 12


def test_an_enqueued_number_that_is_not_whole_by_its_type_is_left_to_the_sampler():
    task = make_task()
    study = start(task, None)
    study.enqueue_trial({"group0": 2.0, "group1": 3})
    result = run_study(study, task, SETTINGS)
    assert len(result.trials) == 12
    assert result.trials[0].widths["group1"] == task.space.rungs[1][2]


def test_a_study_that_somebody_deletes_meanwhile_leaves_no_trials_in_a_database(tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    task = make_task()
    n_asked = 0

    def evaluate(widths):
        nonlocal n_asked
        n_asked += 1
        if n_asked == 3:  # as a button of optuna-dashboard does
            optuna.delete_study(study_name="study", storage=open_storage(storage))
        return task.evaluate(widths)

    told = replace(task, evaluate=evaluate)
    with pytest.raises(RunFolderError, match="the study was deleted while it was searched"):
        run_study(start(told, storage), told, SETTINGS)
    assert len(run_study(start(task, storage), task, SETTINGS).trials) == 12
