"""Kill -9 at any moment, resume, and get what an uninterrupted search gets."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from forking import FORKED
from optuna.trial import TrialState
from search.fakes import make_task
from search.search_once import search_here

from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search.store import attributes


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
    """Start a search in a process of its own, and wait until its study is open."""
    started = FORKED.Event()
    process = FORKED.Process(target=search_here, args=(str(journal), sampler, started))
    process.start()
    assert started.wait(60)
    return process


def test_killed_processes_leave_no_trace(uninterrupted, tmp_path):
    sampler, whole = uninterrupted
    if sampler != "nsga2":
        pytest.skip("cut journals cover the other samplers")
    journal = tmp_path / "study.journal"
    rng = random.Random(1)
    # The first is killed while it enqueues, the others somewhere on their way.
    for pause in (0.004, rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.6)):
        process = start_worker(journal, sampler)
        time.sleep(pause)
        assert process.exitcode is None, "it ended before it was killed"
        process.kill()
        process.join()
    process = start_worker(journal, sampler)
    process.join(120)
    assert process.exitcode == 0
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
