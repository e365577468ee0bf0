"""What the search wrote is used as it was written, or not at all."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import optuna
import pytest
from search.fakes import SHORT
from search.fakes import compute_accuracy
from search.fakes import make_task
from search.fakes import search as search_eight
from sqlalchemy import text

from dpod_search.errors import CheckpointError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import RunFolderError
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study
from dpod_search.search.store import attributes
from dpod_search.search.store.signatures import check_trial
from dpod_search.search.store.status import require_written


def search(storage, n_trials, *, is_shared=False):
    """Search as a user may: with seeds, bounds, a surrogate and the full net out of reach."""
    settings = SearchSettings(
        n_trials=n_trials, population_size=6, min_evaluated=10, audit_share=0.5
    )
    task = make_task(constraints={"macs": "<= 60%", "accuracy": ">= 10%"})
    seeds = propose_seeds(ProposalRequest(task, settings))
    study = open_study("s", storage, task.objectives, make_sampler(settings, task))
    return run_study(study, task, settings, seeds, is_shared=is_shared)


def tell(result):
    """Return what a result tells, but for how long it took."""
    return [
        (
            t.number,
            t.fate,
            t.generation,
            t.widths,
            t.values,
            t.predictions,
            t.reason,
            t.audit_wrong,
        )
        for t in result.trials
    ], dict(result.full)


@contextmanager
def closing(storage):
    """Close a database's connections after the block."""
    try:
        yield storage
    finally:
        storage._backend.engine.dispose()


@pytest.fixture(scope="module")
def whole():
    return tell(search(None, 24))


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "shared"])
def unfinished(request, tmp_path_factory):
    """The lines of the journal of a search that goes on."""
    journal = tmp_path_factory.mktemp("unfinished") / "study.journal"
    search(journal, 14, is_shared=request.param)
    return request.param, journal.read_text().splitlines(keepends=True)


def test_an_untouched_journal_goes_on_as_if_it_had_not_stopped(unfinished, whole, tmp_path):
    journal = tmp_path / "study.journal"
    journal.write_text("".join(unfinished[1]))
    assert tell(search(journal, 24)) == whole


def test_a_missing_line_is_noticed_or_does_no_harm(unfinished, whole, tmp_path):
    is_shared, lines = unfinished
    n_noticed = 0
    # Shared, a trial is some eight lines: every fifth is of each kind once.
    for i, line in list(enumerate(lines[:-1]))[:: 5 if is_shared else 1]:
        journal = tmp_path / f"{i}.journal"
        journal.write_text("".join(lines[:i] + lines[i + 1 :]))
        try:
            result = search(journal, 24)
        except DpodSearchError:
            n_noticed += 1
            continue
        if '"op_code":6' in line:
            # The trial is one whose worker has died, and is run again: later than it was.
            for trial in filter(lambda trial: trial.values, result.trials):
                true = compute_accuracy(trial.widths, result.space)
                assert trial.values["accuracy"] == pytest.approx(true)
        else:
            assert tell(result) == whole, line
    n_trials = sum('"op_code":4' in line for line in lines)
    assert n_trials == 14
    # All but the last trial's; one missing at the end may as well be one that was not begun.
    assert n_noticed >= (5 if is_shared else n_trials - 1)


def change_numbers(value, name=""):
    """Yield variants of a JSON value with one number, or one word, changed."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for changed in change_numbers(inner, key):
                yield {**value, key: changed}
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            for changed in change_numbers(inner, name):
                yield [*value[:i], changed, *value[i + 1 :]]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif name in (attributes.FATE, attributes.SOURCE, attributes.REASON):
        yield f"{value}x"


@pytest.mark.parametrize("n_trials", [14, 24], ids=["finished", "unfinished"])
def test_a_changed_number_is_noticed(unfinished, tmp_path, n_trials):
    lines = unfinished[1]
    kept = ("user_attr", "user_attrs", "system_attr", "system_attrs", "params", "values")
    ignored = {attributes.SECONDS, attributes.SPENT, attributes.SETTINGS}
    n_changed = 0
    for i, line in list(enumerate(lines))[:: 1 if n_trials == 14 else 5]:
        record = json.loads(line)
        for key in kept:
            told = record.get(key)
            if isinstance(told, dict):
                told = {k: v for k, v in told.items() if k not in ignored}
            for changed in list(change_numbers(told))[::3]:
                bad = {
                    **record,
                    key: {**record[key], **changed} if isinstance(changed, dict) else changed,
                }
                journal = tmp_path / f"{n_changed}.journal"
                text = json.dumps(bad) + "\n"
                journal.write_text("".join([*lines[:i], text, *lines[i + 1 :]]))
                with pytest.raises(DpodSearchError):
                    search(journal, n_trials)
                n_changed += 1
    assert n_changed > 20


CHANGES = {
    "a value": "UPDATE trial_values SET value = value + 0.001 WHERE trial_id = 3 AND objective = 0",
    "a parameter": "UPDATE trial_params SET param_value = 4 WHERE trial_id = 3",
    "a state": "UPDATE trials SET state = 'FAIL' WHERE trial_id = 3",
    "a fate": "UPDATE trial_user_attributes SET value_json = '\"cached\"' "
    "WHERE trial_id = 3 AND key = 'fate'",
    "an attribute that is gone": "DELETE FROM trial_user_attributes "
    "WHERE trial_id = 3 AND key = 'widths'",
    "a value that is gone": "DELETE FROM trial_values WHERE trial_id = 3",
}


def check_noticed(url, change):
    with closing(open_storage(url)) as storage:
        search_eight(storage)
        with storage._backend.engine.begin() as connection:
            connection.execute(text(change))
    with pytest.raises(CheckpointError, match="is not what the search wrote"):
        require_written("s", url, 8, None)
    with (
        closing(open_storage(url)) as storage,
        pytest.raises(CheckpointError, match="is not what the search wrote"),
    ):
        search_eight(storage)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_in_sqlite_is_noticed(change, tmp_path):
    check_noticed(f"sqlite:///{tmp_path}/study.db", change)


def test_a_change_in_postgresql_is_noticed(server):
    check_noticed(server, CHANGES["a value"])


def test_a_trial_that_is_gone_is_noticed(tmp_path):
    search_eight(tmp_path / "study.journal")
    lines = (tmp_path / "study.journal").read_text().splitlines(keepends=True)
    del lines[[i for i, line in enumerate(lines) if '"op_code":4' in line][6]]
    (tmp_path / "study.journal").write_text("".join(lines))
    with pytest.raises(RunFolderError, match="has 7 finished trials of the 8"):
        require_written("s", str(tmp_path / "study.journal"), 8, None)
    with pytest.raises(CheckpointError, match="is not what the search wrote"):
        search_eight(tmp_path / "study.journal")


def test_the_trials_of_another_search_are_noticed(tmp_path):
    found = search_eight(tmp_path / "study.journal")
    other = search(tmp_path / "other.journal", 8)
    assert found.n_finished == other.n_finished == 8
    require_written("s", str(tmp_path / "study.journal"), 8, found.trials_hash)
    with pytest.raises(RunFolderError, match="other trials than search.json tells of"):
        require_written("s", str(tmp_path / "other.journal"), 8, found.trials_hash)


def test_what_others_add_is_left_to_them(tmp_path):
    found = search_eight(tmp_path / "study.journal")
    storage = open_storage(tmp_path / "study.journal")
    study = optuna.load_study(study_name="s", storage=storage)
    asked = study.ask()
    asked.set_user_attr("mine", 1)
    study.tell(asked, state=optuna.trial.TrialState.FAIL)
    require_written("s", str(tmp_path / "study.journal"), 8, found.trials_hash)
    assert len(search_eight(tmp_path / "study.journal").trials) == 8


def test_an_attribute_that_somebody_sets_in_the_meantime_does_no_harm(tmp_path):
    task = make_task()
    storage = open_storage(tmp_path / "study.journal")

    def note_and_evaluate(widths):
        # As a person does in the dashboard, at a trial that is running.
        for trial in storage.get_all_trials(0, deepcopy=False):
            if not trial.state.is_finished():
                storage.set_trial_user_attr(trial._trial_id, "mine", "a note")
        return {"accuracy": compute_accuracy(widths, task.space)}

    task = replace(task, evaluate=note_and_evaluate)
    study = open_study("s", storage, task.objectives, make_sampler(SHORT, task))
    run_study(study, task, SHORT, is_shared=True)
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert all(trial.user_attrs["mine"] == "a note" for trial in trials)
    for trial in trials:
        check_trial(trial)


def test_a_trial_that_slips_into_the_queue_moves_others_down_and_does_no_harm(tmp_path):
    task = make_task()
    study = open_study("s", tmp_path / "s.journal", task.objectives, make_sampler(SHORT, task))
    n_asked = 0

    def slip_in_and_evaluate(widths):
        nonlocal n_asked
        n_asked += 1
        if n_asked == 3:
            study.enqueue_trial(dict.fromkeys(task.space.names, 1))
        return {"accuracy": compute_accuracy(widths, task.space)}

    run_study(study, replace(task, evaluate=slip_in_and_evaluate), SHORT)
    trials = study.get_trials(deepcopy=False)
    signed = [trial for trial in trials if attributes.SIGNATURE in trial.system_attrs]
    noted = [int(t.system_attrs[attributes.SIGNATURE].partition(":")[0]) for t in signed]
    assert [trial.number for trial in signed] == [number + 1 for number in noted]
    assert len(search_eight(tmp_path / "s.journal").trials) == 8
