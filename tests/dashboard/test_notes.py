from __future__ import annotations

from dataclasses import replace

import pytest
from report.run_folder import HOSTILE
from report.run_folder import RunFolder

from dpod_search.dashboard.notes import Places
from dpod_search.dashboard.notes import escape
from dpod_search.dashboard.notes import write_study_note
from dpod_search.dashboard.notes import write_trial_note
from dpod_search.report import read_run


PLACES = Places(study_id=4, child_id=5, child_name="digits-finetune")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "digits"
    path.mkdir()
    return RunFolder(path)


def test_constraints_come_with_what_the_dashboard_does_not_heed(folder):
    note = write_study_note(read_run(folder.write()), PLACES, {})
    assert "macs \\<= 80%" in note
    assert "*Best Trials* of the dashboard takes no heed of constraints" in note


def test_without_constraints_there_is_no_word_of_them(folder):
    folder.documents["search.json"]["constraints"] = {}
    note = write_study_note(read_run(folder.write()), PLACES, {})
    assert "| constraints" not in note
    assert "Best Trials" not in note


def test_hostile_names_stay_text(folder):
    folder.documents["search.json"]["study"] = HOSTILE
    note = write_study_note(read_run(folder.write()), PLACES, {})
    assert "<b>" not in note.replace("\\<b", "")
    assert "\n# " + escape(HOSTILE) in "\n" + note


def test_why_a_member_was_chosen_is_told(folder):
    run = read_run(folder.write())
    member = replace(run.front.members[1], is_knee=True, budgets=("macs<=2M",))
    front = replace(run.front, members=(run.front.members[0], member, *run.front.members[2:]))
    run = replace(run, front=front)
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    assert "knee, macs\\<=2M" in write_study_note(run, PLACES, {})
    note = write_trial_note(run, trial, member, PLACES, {})
    assert "Chosen for: a knee of the front, macs\\<=2M." in note


def test_a_member_that_is_dominated_afterwards_says_so(folder):
    run = read_run(folder.write())
    member = replace(run.front.members[1], on_front=False)
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    assert "another member is as good" in write_trial_note(run, trial, member, PLACES, {})


def test_an_empty_front_is_told_of(folder):
    run = read_run(folder.write())
    run = replace(run, search=replace(run.search, front=()), front=None)
    assert "The front is empty." in write_study_note(run, PLACES, {})


def test_links_lead_to_the_study(folder):
    run = read_run(folder.write())
    note = write_study_note(run, PLACES, {"report.html": "/artifacts/4/0"})
    number = run.search.front[0]
    assert f"[{number}](/dashboard/studies/4/trials?numbers={number})" in note
    assert "[report.html](/artifacts/4/0)" in note
    assert "/dashboard/studies/5)" in note
