from __future__ import annotations

import io
import json
import re
import sys

import optuna
import pytest
from dashboard.asking import ask
from dashboard.asking import ask_study
from dashboard.asking import make_app
from optuna_dashboard import save_note
from PIL import Image
from pipeline.tiny import rewrite
from search.fakes import damage_trials
from search.fakes import search

from dpod_search.dashboard import decorate_study
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.files import read_json
from dpod_search.report import FIGURES
from dpod_search.report import Drawing
from dpod_search.report import read_run
from dpod_search.report import write_report
from dpod_search.search import open_storage
from dpod_search.search.store import attributes


def show(run):
    """Decorate a run and return what the dashboard tells of it, and its trials by number."""
    found = decorate_study(run, "digits")
    told = ask_study(found.storage, run, found.study_id)
    return found, told, {trial["number"]: trial for trial in told["trials"]}


def test_objectives_have_their_names(run):
    _, told, _ = show(run)
    assert told["objective_names"] == ["accuracy", "macs"]


def test_every_figure_of_the_report_is_there_with_its_title(run):
    _, told, _ = show(run)
    figures = {
        item["id"]: json.loads(item["graph_object"]) for item in told["plotly_graph_objects"]
    }
    read = read_run(run)
    drawn = {k.name: k.title for k in FIGURES if isinstance(k.draw(read), Drawing)}
    assert {name: f["layout"]["title"]["text"] for name, f in figures.items()} == drawn
    assert "front" in drawn


def test_the_studys_note_tells_what_it_is_and_links_to_what_is_there(run):
    found, told, _ = show(run)
    note = told["note"]["body"]
    front = read_json(run / "search.json")["front"]
    for number in front:
        assert f"[{number}](/dashboard/studies/{found.study_id}/trials?numbers={number})" in note
    assert str(run.resolve()) in note
    assert "resnet8" in note
    links = dict(re.findall(r"\[([^\]]+)\]\((/artifacts/[^)]+)\)", note))
    assert {"report.html", "trials.csv", "front.json"} <= set(links)
    status, body = ask(make_app(found.storage, run), links["report.html"])
    assert status.startswith("200")
    assert body == (run / "report.html").read_bytes()


def test_members_of_the_front_have_notes_and_files(run):
    found, _, trials = show(run)
    members = {m["trial"]: m for m in read_json(run / "front.json")["members"]}
    assert members
    app = make_app(found.storage, run)
    for number, member in members.items():
        if number is None:
            continue
        body = trials[number]["note"]["body"]
        for name, width in member["widths"].items():
            assert re.search(rf"`{re.escape(name)}`\W+{width}\W", body)
        assert f"{100 * member['validation_accuracy']:.2f}" in body
        assert f"{100 * member['test_accuracy']:.2f}" in body
        assert f"{member['macs']:,}" in body
        files = {item["filename"]: item["artifact_id"] for item in trials[number]["artifacts"]}
        assert {"widths.png", "model.safetensors", "model.pt2"} <= set(files)
        trial_id = trials[number]["trial_id"]
        at = f"/artifacts/{found.study_id}/{trial_id}/"
        _, weights = ask(app, at + files["model.safetensors"])
        assert weights == (run / "exported" / str(number) / "model.safetensors").read_bytes()
        _, picture = ask(app, at + files["widths.png"])
        assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_others_have_neither(run):
    _, _, trials = show(run)
    front = set(read_json(run / "search.json")["front"])
    tuned = {m["trial"] for m in read_json(run / "front.json")["members"]}
    others = [trial for number, trial in trials.items() if number not in front | tuned]
    assert others
    assert all(trial["note"]["body"] == "" and not trial["artifacts"] for trial in others)


def test_finetuned_trials_point_back(run):
    found, _, _ = show(run)
    told = ask_study(found.storage, run, found.study_id + 1)
    assert told["name"] == "digits-finetune"
    assert told["trials"]
    for trial in told["trials"]:
        parent = next(a["value"] for a in trial["user_attrs"] if a["key"] == "parent")
        assert f"studies/{found.study_id}/trials?numbers={parent})" in trial["note"]["body"]


def test_the_second_time_nothing_is_written(run):
    first = decorate_study(run, "digits")
    journal = (run / "study.journal").read_bytes()
    files = {file.name: file.stat().st_mtime_ns for file in (run / "artifacts").iterdir()}
    again = decorate_study(run, "digits")
    assert first.n_notes > 0
    assert first.n_figures > 0
    assert first.n_files > 0
    assert (again.n_notes, again.n_figures, again.n_files) == (0, 0, 0)
    assert (run / "study.journal").read_bytes() == journal
    assert {f.name: f.stat().st_mtime_ns for f in (run / "artifacts").iterdir()} == files


def test_trials_stay_as_the_search_left_them(run):
    def tell():
        study = optuna.load_study(study_name="digits", storage=open_storage(run / "study.journal"))
        return [(t.number, t.state, t.values, t.params, t.user_attrs) for t in study.trials]

    before = tell()
    decorate_study(run, "digits")
    assert tell() == before


def test_a_new_report_takes_the_place_of_the_old_one(run):
    decorate_study(run, "digits")
    before = {file.name for file in (run / "artifacts").iterdir()}
    front = read_json(run / "front.json")
    front["members"][0]["test_accuracy"] = 0.123
    rewrite(run, "front.json", front)
    write_report(run)
    found, told, trials = show(run)
    names = [item["filename"] for item in told["artifacts"]]
    assert sorted(names) == sorted(set(names))
    assert found.n_files == 2  # the report and front.json
    assert len(before) == len({file.name for file in (run / "artifacts").iterdir()})
    number = front["members"][0]["trial"]
    assert "12.30" in trials[number]["note"]["body"]


def test_a_note_that_a_person_has_edited_is_left_alone(run):
    found, _, trials = show(run)
    number = read_json(run / "search.json")["front"][0]
    study = optuna.load_study(study_name="digits", storage=found.storage)
    save_note(study, "mine")
    save_note(optuna.Trial(study, trials[number]["trial_id"]), "mine too")
    again, told, trials = show(run)
    assert told["note"]["body"] == "mine"
    assert trials[number]["note"]["body"] == "mine too"
    assert again.n_notes == 0


def test_a_trial_that_has_left_the_front_keeps_neither_note_nor_files(run):
    show(run)
    search, front = read_json(run / "search.json"), read_json(run / "front.json")
    gone = next(m["trial"] for m in front["members"] if m["macs_share"] < 1)
    search["front"].remove(gone)
    front["members"] = [m for m in front["members"] if m["trial"] != gone]
    rewrite(run, "search.json", search)
    rewrite(run, "front.json", front)
    _, told, trials = show(run)
    assert trials[gone]["note"]["body"] == ""
    assert trials[gone]["artifacts"] == []
    assert f"numbers={gone})" not in told["note"]["body"]
    kept = {item["artifact_id"] for t in [told, *told["trials"]] for item in t["artifacts"]}
    assert {file.name for file in (run / "artifacts").iterdir()} == kept


def test_old_accuracies_do_not_stand_under_new_numbers(run):
    front = read_json(run / "front.json")
    member = next(m for m in front["members"] if m["macs_share"] < 1)
    # As after a new search: that number belongs to another trial now.
    known = {m["trial"] for m in front["members"]}
    member["trial"] = next(t.number for t in read_run(run).trials if t.number not in known)
    member["test_accuracy"] = 0.1234
    rewrite(run, "front.json", front)
    _, told, trials = show(run)
    assert "12.34" not in told["note"]["body"]
    assert all("12.34" not in trial["note"]["body"] for trial in trials.values())


def test_what_a_study_lacks_is_not_decorated(run, tmp_path):
    """A study that is shorter than the folder's, as far as the front knows the same."""
    search, front = read_json(run / "search.json"), read_json(run / "front.json")
    kept = open_storage(run / "study.journal")
    own = optuna.load_study(study_name="digits", storage=kept).trials
    last = own[-1]
    search["front"] = [number for number in search["front"] if number != last.number]
    front["members"][0] |= {"trial": last.number, "widths": last.user_attrs[attributes.WIDTHS]}
    rewrite(run, "search.json", search)
    rewrite(run, "front.json", front)
    other = open_storage(tmp_path / "other.journal")
    study = optuna.create_study(
        study_name="digits", storage=other, directions=["maximize", "minimize"]
    )
    study.add_trials(own[:-1])
    found = decorate_study(run, "digits", other)
    told = {t["number"]: t for t in ask_study(other, run, found.study_id)["trials"]}
    assert told[search["front"][0]]["note"]["body"]
    assert last.number not in told


def test_finetuned_trials_of_an_earlier_search_do_not_point_to_new_ones(run):
    kept = open_storage(run / "study.journal")
    child = optuna.load_study(study_name="digits-finetune", storage=kept)
    number = child.trials[0].user_attrs[attributes.PARENT]
    other = next(t for t in read_run(run).trials if t.number != number)
    stale = optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE,
        values=child.trials[0].values,
        user_attrs={
            attributes.PARENT: number,
            attributes.WIDTHS: dict(other.widths),
        },
    )
    child.add_trial(stale)
    found, _, _ = show(run)
    told = ask_study(found.storage, run, found.study_id + 1)["trials"]
    assert told[0]["note"]["body"]
    assert told[-1]["note"]["body"] == ""


def test_a_file_that_was_taken_away_comes_back(run):
    found, told, _ = show(run)
    artifact = told["artifacts"][0]["artifact_id"]
    status, _ = ask(
        make_app(found.storage, run), f"/api/artifacts/{found.study_id}/{artifact}", "DELETE"
    )
    assert status.startswith("204")
    again, told, _ = show(run)
    assert again.n_files == 1
    assert artifact in {item["artifact_id"] for item in told["artifacts"]}


def test_a_running_search_is_shown_and_not_written_into(run):
    (run / "search.json").unlink()
    before = (run / "study.journal").read_bytes()
    found = decorate_study(run, "digits")
    assert found.is_searching
    assert (run / "study.journal").read_bytes() == before
    assert not (run / "artifacts").exists()


def test_a_search_without_finetuning_is_decorated_too(run):
    for name in ("front.json", "report.html", "exported/manifest.json"):
        (run / name).unlink()
    _, told, trials = show(run)
    number = read_json(run / "search.json")["front"][0]
    assert "no report yet" in told["note"]["body"]
    assert "Not among those that were finetuned" in trials[number]["note"]["body"]
    assert [item["filename"] for item in trials[number]["artifacts"]] == ["widths.png"]


def test_another_storage_and_no_storage_are_told_of(run, tmp_path):
    with pytest.raises(RunFolderError, match=r"there is no .*nowhere; run `dpod-search search`"):
        decorate_study(run, "digits", tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match="there is no .*none.db"):
        decorate_study(run, "digits", f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(RunFolderError, match="the storage has no study other"):
        decorate_study(run, "other")


def test_a_study_of_other_trials_is_refused(run, tmp_path):
    other = open_storage(tmp_path / "other.journal")
    study = optuna.create_study(
        study_name="digits", storage=other, directions=["maximize", "minimize"]
    )
    with pytest.raises(RunFolderError, match="is not that of"):
        decorate_study(run, "digits", other)
    own = optuna.load_study(study_name="digits", storage=open_storage(run / "study.journal"))
    study.add_trials(own.trials[1:])
    with pytest.raises(RunFolderError, match="is not that of"):
        decorate_study(run, "digits", other)


def test_without_the_extra_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(ConfigError, match=r'pip install "dpod-search\[dashboard\]"'):
        decorate_study(run, "digits")


def test_the_dashboard_reads_violations_where_the_search_writes_them(tmp_path):
    """Optuna's own key is not read by optuna-dashboard 0.21; once it is, ours need not be."""
    storage = open_storage(tmp_path / "study.journal")
    study = optuna.create_study(study_name="s", storage=storage)
    ours, optunas = study.ask(), study.ask()
    storage.set_trial_system_attr(ours._trial_id, attributes.VIOLATIONS, [0.5])
    optunas.set_constraint("macs", 0.5)
    study.tell(ours, 1.0)
    study.tell(optunas, 1.0)
    first, second = ask_study(storage, tmp_path)["trials"]
    assert first["constraints"] == [0.5]
    assert second["constraints"] == []


def test_a_study_in_a_database_is_decorated_as_well(run, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    kept = open_storage(run / "study.journal")
    for name in ("digits", "digits-finetune"):
        optuna.copy_study(from_study_name=name, from_storage=kept, to_storage=open_storage(url))
    first, again = decorate_study(run, "digits", url), decorate_study(run, "digits", url)
    assert (again.n_notes, again.n_figures, again.n_files) == (0, 0, 0)
    told = ask_study(first.storage, run, first.study_id)
    assert len(told["plotly_graph_objects"]) == first.n_figures
    number = read_json(run / "search.json")["front"][0]
    trial = next(trial for trial in told["trials"] if trial["number"] == number)
    assert f"Trial {number}" in trial["note"]["body"]
    assert "widths.png" in {item["filename"] for item in trial["artifacts"]}


def test_a_database_that_is_damaged_inside_is_one_line(run, tmp_path):
    file = tmp_path / "study.db"
    search(f"sqlite:///{file}")
    damage_trials(file)
    with pytest.raises(RunFolderError, match=r"malformed.* restore it from a copy"):
        decorate_study(run, "s", f"sqlite:///{file}")


def list_attached(run):
    _, told, trials = show(run)
    return {item["filename"] for of in (told, *trials.values()) for item in of["artifacts"]}


def test_only_what_the_manifest_names_is_attached(run):
    number = next(m["trial"] for m in read_json(run / "front.json")["members"])
    folder = run / "exported" / str(number)
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    (folder / "notes.txt").write_text("the user's")
    attached = list_attached(run)
    assert "model.safetensors" in attached
    assert not {"passwd.txt", "notes.txt"} & attached


def test_a_link_in_the_place_of_a_file_is_refused(run):
    number = next(m["trial"] for m in read_json(run / "front.json")["members"])
    file = run / "exported" / str(number) / "model.py"
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(RunFolderError, match=r"model.py is a link, and a run follows none"):
        decorate_study(run, "digits")
    assert not (run / "artifacts").exists()


@pytest.mark.parametrize(
    "name", ["report.html", "front.json", "config.toml", "exported/#/model.py"]
)
def test_a_file_that_was_changed_is_named_and_not_attached(run, name):
    number = next(m["trial"] for m in read_json(run / "front.json")["members"])
    file = run / name.replace("#", str(number))
    file.write_text(file.read_text() + " ")
    with pytest.raises(CheckpointError, match=f"{file.name} is damaged or was changed since"):
        decorate_study(run, "digits")
