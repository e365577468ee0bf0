from __future__ import annotations

import json
import subprocess
import sys
import time

import optuna
import pytest
from optuna.study import StudyDirection
from search.fakes import SHORT as SETTINGS
from search.fakes import make_task
from search.fakes import search
from traces import snapshot

from dpod_search.errors import CheckpointError
from dpod_search.search import KernelLock
from dpod_search.search import make_sampler
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import run_study
from dpod_search.search.store import TrialJournal
from dpod_search.search.store import open_existing


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The journal of a search; read it, never change it."""
    journal = tmp_path_factory.mktemp("searched") / "study.journal"
    search(journal)
    return journal


def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    whole = journal.read_bytes()
    torn = whole + b'{"op_code":4,"wor'
    journal.write_bytes(torn)
    assert len(search(journal).trials) == 8
    assert journal.read_bytes() == torn  # a study that has ended is only read
    open_storage(journal).create_new_study([StudyDirection.MINIMIZE], "another")
    assert journal.read_bytes().startswith(whole + b'{"op_code":0,')
    assert optuna.get_all_study_names(open_storage(journal)) == ["s", "another"]


@pytest.mark.parametrize("torn", [b'{"op_code":4,"wor', b"x" * 10_000])
def test_a_line_torn_by_another_process_is_cut_off_by_whoever_writes_next(tmp_path, torn):
    journal = tmp_path / "study.journal"
    task = make_task()
    study = open_study("s", journal, task.objectives, make_sampler(SETTINGS, task))
    with journal.open("ab") as file:
        file.write(torn)
    run_study(study, task, SETTINGS)
    assert len(search(journal).trials) == 8
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_generation_is_appended_at_once(tmp_path, monkeypatch):
    appended = []
    append = TrialJournal.append_logs

    def note(self, logs):
        appended.append(len(logs))
        append(self, logs)

    monkeypatch.setattr(TrialJournal, "append_logs", note)
    search(tmp_path / "study.journal")
    assert max(appended) == 8


def test_a_finished_study_is_read_without_a_trace(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    whole = journal.read_bytes()
    search(journal)
    assert journal.read_bytes() == whole


def test_a_line_damaged_elsewhere_is_named(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = b"\0" * 20 + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(CheckpointError, match="damaged in line 5"):
        open_storage(journal)


@pytest.mark.parametrize("text", ["12\nmine", "mine", "mine\n", "[1]\n", '{"mine": 1}', "\0" * 9])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, text):
    other = tmp_path / "notes.txt"
    other.write_text(text)
    before = snapshot(tmp_path)
    for look in (open_storage, open_existing):
        with pytest.raises(CheckpointError, match="notes.txt is damaged in line 1"):
            look(other)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("torn", ["", "{", '{"op_c', '{"op_code":0,"worker_id":"1'])
def test_a_journal_may_be_empty_but_for_its_first_line_torn(tmp_path, torn):
    journal = tmp_path / "study.journal"
    journal.write_text(torn)
    assert len(search(journal).trials) == 8


def test_who_only_looks_leaves_no_trace(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    (tmp_path / "study.journal.lock").unlink()
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    before = snapshot(tmp_path)
    storage = open_existing(journal)
    assert len(optuna.load_study(study_name="s", storage=storage).trials) == 8
    assert snapshot(tmp_path) == before


NONE_OF_OPTUNAS = {
    "an unknown operation": '{"op_code": 99}',
    "a text for an operation": '{"op_code": "4"}',
    "a list": '["op_code"]',
    "a text": '"op_code"',
    "no study": '{"op_code": 4, "worker_id": "w", "datetime_start": null}',
    "a study that was never made": (
        '{"op_code": 4, "worker_id": "w", "study_id": 7, "datetime_start": null}'
    ),
    "a study's id of another type": (
        '{"op_code": 4, "worker_id": "w", "study_id": [], "datetime_start": null}'
    ),
    "an unknown state": (
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": null, "state": 9}'
    ),
    "an unknown distribution": (
        '{"op_code": 5, "worker_id": "w", "trial_id": 8, "param_name": "x", '
        '"param_value_internal": 1, "distribution": "{\\"name\\": \\"Odd\\"}"}'
    ),
    "no date": '{"op_code": 6, "worker_id": "w", "trial_id": 8, "state": 1, "values": null}',
    "no date but a word": (
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "today"}'
    ),
    "an unknown direction": (
        '{"op_code": 0, "worker_id": "w", "study_name": "t", "directions": [7]}'
    ),
    "no attribute": '{"op_code": 8, "worker_id": "w", "trial_id": 8}',
    "an attribute without a value": (
        '{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": "x"}'
    ),
    "a signature of no trial": (
        '{"op_code": 9, "worker_id": "w", "trial_id": 9, "system_attr": {"dpod:signature": "9:0"}}'
    ),
    "lists in lists": "[" * 100_000,
    "no JSON": "op_code",
    "nothing": "",
}


@pytest.mark.parametrize("record", NONE_OF_OPTUNAS.values(), ids=NONE_OF_OPTUNAS.keys())
@pytest.mark.parametrize("is_last", [True, False], ids=["last", "between"])
def test_a_record_that_is_none_of_optunas_is_named(searched, tmp_path, record, is_last):
    running = '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": null}\n'
    after = "" if is_last else running
    journal = tmp_path / "study.journal"
    whole = searched.read_text()
    journal.write_text(whole + running + record + "\n" + after)
    number = whole.count("\n") + 2
    for look in (open_storage, open_existing):
        with pytest.raises(CheckpointError, match=f"damaged in line {number}") as error:
            look(journal)
        assert len(str(error.value).splitlines()) == 1


def test_a_record_that_is_none_is_met_in_the_middle_of_a_search(tmp_path):
    journal = tmp_path / "study.journal"
    storage = open_storage(journal)
    storage.create_new_study([StudyDirection.MINIMIZE], "s")
    with journal.open("a") as file:
        file.write('{"op_code": 99}\n')
    with pytest.raises(CheckpointError, match="damaged in line 2"):
        storage.get_all_studies()


def test_a_signature_that_comes_after_another_program_has_ended_the_trial_means_nothing(tmp_path):
    journal = tmp_path / "study.journal"
    found = search(journal).trials_hash
    with journal.open("a") as file:
        file.write(
            '{"op_code":9,"worker_id":"w","trial_id":3,"system_attr":{"dpod:signature":"3:0"}}\n'
        )
    assert search(journal).trials_hash == found


def test_what_cannot_be_is_said_as_optuna_says_it(tmp_path):
    storage = open_storage(tmp_path / "study.journal")
    with pytest.raises(KeyError):
        storage.set_study_user_attr(7, "x", 1)
    # Its record stays in the journal and means nothing.
    assert open_storage(tmp_path / "study.journal").get_all_studies() == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    path = tmp_path / "study.journal"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from filelock import FileLock\n"
        f"FileLock({str(path) + '.lock'!r}).acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    start = time.monotonic()
    lock = KernelLock(path)
    lock.acquire()
    lock.release()
    assert time.monotonic() - start < 5


def test_optuna_reads_the_journal_with_its_own_lock(tmp_path):
    journal = tmp_path / "study.journal"
    search(journal)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    study = optuna.load_study(
        study_name="s",
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.RandomSampler(),
    )
    assert len(study.trials) == 8
