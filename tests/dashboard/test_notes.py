from __future__ import annotations

import re
from dataclasses import replace

import pytest
from report.run_folder import HOSTILE
from report.run_folder import RunFolder

from dpod_search.dashboard.notes import Places
from dpod_search.dashboard.notes import write_study_note
from dpod_search.dashboard.notes import write_trial_note
from dpod_search.figures.text import percent
from dpod_search.markdown import code
from dpod_search.markdown import escape
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
    member = replace(run.front.members[1], knee=True, budgets=("macs<=2M",))
    front = replace(run.front, members=(run.front.members[0], member, *run.front.members[2:]))
    run = replace(run, front=front)
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    assert "knee, macs ≤ 2M" in write_study_note(run, PLACES, {})
    note = write_trial_note(run, trial, member, PLACES, {})
    assert "Chosen for: a knee of the front, macs ≤ 2M." in note


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


def list_cells(note):
    """Return the cells of each line of the tables, as a table of GitHub's Markdown reads them."""
    lines = [line for line in note.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


def test_bars_and_brackets_in_names_stay_in_their_cells(folder):
    folder.rename_group("stem", "a|b`c<i>")
    folder.replace_objectives({"accuracy": "maximize", "x|<b>$y$": "minimize"})
    folder.config = folder.config.replace('[data]\nname = "digits"', "[data]\nname = '`a|b`<i>'")
    run = read_run(folder.write())
    note = write_study_note(run, PLACES, {})
    assert len({len(cells) for cells in list_cells(note)}) == 2  # two tables
    assert "x\\|\\<b\\>\\$y\\$" in note
    assert "<i>" not in note.replace("\\<i\\>", "")
    member = run.front.members[1]
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    note = write_trial_note(run, trial, member, PLACES, {})
    assert {len(cells) for cells in list_cells(note)} == {3}
    assert "`` a\\|b`c<i> ``" in note


def test_code_outside_of_tables_shows_bars_as_they_are():
    assert code("a|b") == "`a|b`"


def test_latency_is_told_with_its_error_and_its_clock(folder):
    folder.model_latency()
    run = read_run(folder.write())
    note = write_study_note(run, PLACES, {})
    assert "4.3\u00a0% off on average" in note
    assert "Toy 9000" in note
    assert "latency, measured, of full" in note
    member = run.front.members[1]
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    share = percent(member.measured_latency_share)
    assert share in next(line for line in note.splitlines() if f"numbers={trial.number})" in line)
    assert share in write_trial_note(run, trial, member, PLACES, {})
    assert "measured, of full" not in write_trial_note(run, trial, None, PLACES, {})


def test_a_note_names_the_unit_of_bytes(folder):
    folder.add_footprint("peak_bytes", 10)
    objectives = folder.documents["search.json"]["objectives"]
    objectives.append({"name": "peak_bytes", "direction": "minimize"})
    note = write_study_note(read_run(folder.write()), PLACES, {})
    assert "| peak activation memory (bytes)" in note


def test_a_run_without_a_search_says_so(folder):
    folder.skip_search()
    run = read_run(folder.write())
    note = write_study_note(run, PLACES, {})
    assert "chosen by mdp" in note
    assert "without a search" in note
    assert "Channel widths searched" not in note
    assert "surrogate" not in note
    assert "params ≤ 9: the smallest subnet has 99" in note
    # Both were chosen, though one of them is not on the front.
    assert all(f"numbers={trial.number})" in note for trial in run.trials)
    told = write_trial_note(run, run.trials[0], None, PLACES, {})
    assert f"# Trial {run.trials[0].number}: chosen by mdp" in told
    assert "as searched" not in told


def test_what_is_dominated_afterwards_was_chosen_for_its_budget_all_the_same(folder):
    run = read_run(folder.write())
    member = replace(run.front.members[1], on_front=False, budgets=("macs<=2M",))
    trial = next(trial for trial in run.trials if trial.number == member.trial)
    note = write_trial_note(run, trial, member, PLACES, {})
    assert "another member is as good" in note
    assert "Chosen for: macs ≤ 2M." in note
