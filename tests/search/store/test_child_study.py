from __future__ import annotations

import optuna
import pytest
from search.fakes import make_task

from dpod_search.errors import RunFolderError
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import record_finetuned
from dpod_search.search import run_study


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "study.journal"
    task = make_task()
    settings = SearchSettings(n_trials=4, surrogate=False)
    study = open_study("digits", path, task.objectives, make_sampler(settings, task))
    run_study(study, task, settings)
    return path


def test_finetuned_subnets_are_trials_of_a_child_study(journal):
    child = record_finetuned("digits", journal, {2: {"accuracy": 0.99}})
    assert child.study_name == "digits-finetune"
    assert child.metric_names == ["accuracy", "macs"]
    (trial,) = child.trials
    assert trial.user_attrs["parent"] == 2
    assert trial.values[0] == 0.99
    assert trial.values[1] == trial.user_attrs["before_macs"]
    assert trial.user_attrs["before_accuracy"] < 0.99
    assert len(trial.params) == 4


def tell(child):
    return [(trial.user_attrs["parent"], trial.values[0]) for trial in child.trials]


def test_recording_again_adds_only_what_is_new(journal):
    first = {2: {"accuracy": 0.99}}
    record_finetuned("digits", journal, first)
    before = journal.read_bytes()
    record_finetuned("digits", journal, first)
    assert journal.read_bytes() == before
    child = record_finetuned("digits", journal, {0: {"accuracy": 0.7}, **first})
    assert tell(child) == [(2, 0.99), (0, 0.7)]
    assert journal.read_bytes().startswith(before)


def test_what_is_finetuned_again_takes_the_place_of_all_that_is_stale(journal):
    record_finetuned("digits", journal, {2: {"accuracy": 0.99}, 0: {"accuracy": 0.7}})
    child = record_finetuned("digits", journal, {2: {"accuracy": 0.5}, 1: {"accuracy": 0.6}})
    assert tell(child) == [(2, 0.5), (1, 0.6)]
    assert child.metric_names == ["accuracy", "macs"]
    fewer = record_finetuned("digits", journal, {2: {"accuracy": 0.5}})
    assert tell(fewer) == [(2, 0.5)]
    summaries = optuna.get_all_study_summaries(open_storage(journal))
    assert sorted(summary.study_name for summary in summaries) == ["digits", "digits-finetune"]


def test_a_mistake_leaves_the_child_study_as_it_was(journal):
    record_finetuned("digits", journal, {2: {"accuracy": 0.99}})
    with pytest.raises(RunFolderError, match="no completed trial 9"):
        record_finetuned("digits", journal, {2: {"accuracy": 0.5}, 9: {"accuracy": 1.0}})
    assert tell(record_finetuned("digits", journal, {2: {"accuracy": 0.99}})) == [(2, 0.99)]


def test_unknown_studies_and_trials_are_refused(journal):
    with pytest.raises(RunFolderError, match="no study nothing"):
        record_finetuned("nothing", journal, {})
    with pytest.raises(RunFolderError, match="no completed trial 9"):
        record_finetuned("digits", journal, {9: {"accuracy": 1.0}})
