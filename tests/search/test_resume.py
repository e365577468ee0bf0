"""Kill -9 at any moment, resume, and get what an uninterrupted search gets."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from search.fakes import make_task
from search.search_once import main as search_here

from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search.store import attributes


WORKER = Path(__file__).with_name("search_once.py")


def read_trials(journal):
    task = make_task()
    study = open_study("killed", journal, task.objectives, make_sampler(SearchSettings(), task))
    trials = study.get_trials(deepcopy=False)
    assert all(trial.state.is_finished() for trial in trials)
    return [
        {
            "number": t.number,
            "params": t.params,
            "values": t.values,
            "state": t.state.name,
            "user": {k: v for k, v in t.user_attrs.items() if k != attributes.SECONDS},
            # Who did it may differ, and is only noted of trials that others could see.
            "system": {k: v for k, v in t.system_attrs.items() if k != attributes.WORKER},
        }
        for t in trials
    ]


@pytest.fixture(scope="module", params=["nsga2", "tpe"])
def uninterrupted(request, tmp_path_factory):
    journal = str(tmp_path_factory.mktemp("whole") / "study.journal")
    search_here(journal, request.param)
    return request.param, Path(journal)


def start_worker(journal, sampler):
    command = [sys.executable, str(WORKER), str(journal), sampler]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_processes_leave_no_trace(uninterrupted, tmp_path):
    sampler, whole = uninterrupted
    if sampler != "nsga2":
        pytest.skip("starting processes is slow; cut journals cover the other samplers")
    journal = tmp_path / "study.journal"
    rng = random.Random(1)
    # The first is killed while it enqueues, the others somewhere on their way.
    for pause in (0.004, rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.6)):
        process = start_worker(journal, sampler)
        assert process.stdout.readline() == "started\n"
        time.sleep(pause)
        process.kill()
        process.communicate()
    process = start_worker(journal, sampler)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert read_trials(journal) == read_trials(whole)


def test_a_journal_cut_after_any_line_ends_the_same(uninterrupted, tmp_path):
    # A killed process leaves a prefix of the journal; resuming in this process is quick enough
    # to try prefixes by the dozen, among them every kind of record.
    sampler, whole = uninterrupted
    expected = read_trials(whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    rng = random.Random(2)
    cuts = [1, 11, 18, 30, *rng.sample(range(40, len(lines)), 4)]
    for cut in cuts:
        journal = tmp_path / f"{cut}.journal"
        torn = lines[cut][: len(lines[cut]) // 2] if cut < len(lines) else b""
        journal.write_bytes(b"".join(lines[:cut]) + torn)
        search_here(str(journal), sampler)
        assert read_trials(journal) == expected, f"cut after line {cut}"


def test_the_study_has_every_fate_that_matters(uninterrupted):
    # Else the tests above would compare less than they seem to.
    sampler, journal = uninterrupted
    trials = read_trials(journal)
    fates = {trial["user"]["fate"] for trial in trials}
    assert {"evaluated", "audited"} <= fates
    if sampler == "tpe":  # our own screens its offspring before a trial is spent on them
        assert "pruned-surrogate" in fates
        assert {trial["state"] for trial in trials} == {TrialState.COMPLETE.name, "PRUNED"}
    assert json.dumps(trials)
