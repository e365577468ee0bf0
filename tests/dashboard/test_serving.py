from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import optuna
import pytest
from dashboard.asking import ask
from dashboard.asking import make_app

from dpod_search.dashboard import is_loopback
from dpod_search.dashboard import open_server
from dpod_search.dashboard import serve
from dpod_search.dashboard.serving import guard
from dpod_search.dashboard.serving import guard_files
from dpod_search.errors import ConfigError
from dpod_search.search import open_storage


@pytest.fixture
def storage(tmp_path):
    storage = open_storage(tmp_path / "study.journal")
    study = optuna.create_study(study_name="s", storage=storage)
    study.tell(study.ask(), 1.0)
    return storage


@pytest.fixture
def app(storage, tmp_path):
    return make_app(storage, tmp_path)


def read_note(app):
    return json.loads(ask(app, "/api/studies/0")[1])["note"]["body"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_only(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.1.x"]
)
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)


def test_a_server_answers_until_it_is_told_to_stop(storage, tmp_path):
    server = open_server(storage, tmp_path, port=0)
    thread = threading.Thread(target=serve, args=(server,))
    thread.start()
    with urllib.request.urlopen(f"{server.address}/api/studies", timeout=20) as answer:
        told = json.load(answer)
    assert [s["study_name"] for s in told["study_summaries"]] == ["s"]
    server.shutdown()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.address}/api/studies", timeout=5)


def test_a_port_that_is_taken_is_one_clear_line(storage, tmp_path):
    with open_server(storage, tmp_path, port=0) as server:
        port = server.server_port
        with pytest.raises(
            ConfigError, match=rf"port {port} of 127.0.0.1 is in use; give another"
        ):
            open_server(storage, tmp_path, port=port)


def test_a_host_of_another_machine_is_one_clear_line(storage, tmp_path):
    with pytest.raises(ConfigError, match=r"port 0 of 192\.0\.2\.1 cannot be used"):
        open_server(storage, tmp_path, host="192.0.2.1", port=0, allow_remote=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_only_if_told_so(storage, tmp_path, host):
    with pytest.raises(ConfigError, match="no login; add --allow-remote"):
        open_server(storage, tmp_path, host=host, port=0)


def test_all_addresses_of_this_machine_may_be_asked_for(storage, tmp_path):
    with open_server(storage, tmp_path, host="0.0.0.0", port=0, allow_remote=True) as server:
        assert server.server_port > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/0"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/0/rename"),
        ("POST", "/api/trials/0/tell"),
        ("POST", "/api/trials/0/user-attrs"),
        ("PUT", "/api/studies/0/notes/../../note"),
        ("DELETE", "/api/studies/0/note"),
    ],
)
def test_nothing_can_be_changed(app, storage, method, path):
    before = len(storage.get_all_studies())
    status, body = ask(guard(app, storage, is_local=True), path, method, {"study_name": "t"})
    assert status.startswith("403")
    assert "nothing can be changed" in json.loads(body)["reason"]
    assert len(storage.get_all_studies()) == before


@pytest.mark.parametrize("path", ["/api/studies/0/note", "/api/studies/0/0/note"])
def test_notes_can_be_written_on_this_machine_only(app, storage, path):
    note = {"body": "hello", "version": 1}
    assert ask(guard(app, storage, is_local=False), path, "PUT", note)[0].startswith("403")
    assert read_note(app) == ""
    assert ask(guard(app, storage, is_local=True), path, "PUT", note)[0].startswith("204")
    assert "hello" in ask(app, "/api/studies/0")[1].decode()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_a_name_that_leads_here_from_outside_is_refused(app, storage, host):
    guarded = guard(app, storage, is_local=True)
    assert ask(guarded, "/api/studies", host=host)[0].startswith("403")
    assert ask(guarded, "/api/studies", host="localhost:1")[0].startswith("200")
    assert ask(guarded, "/api/studies", host="[::1]:1")[0].startswith("200")
    assert ask(guard(app, storage, is_local=False), "/api/studies", host=host)[0].startswith("200")


@pytest.fixture(params=["journal", "sqlite"])
def two_studies(request, tmp_path):
    """A storage in which study 1 (2 of SQLite) has a trial that study 0 (1) has not."""
    places = {"journal": tmp_path / "two.journal", "sqlite": f"sqlite:///{tmp_path}/two.db"}
    storage = open_storage(places[request.param])
    for name in ("s", "t"):
        study = optuna.create_study(study_name=name, storage=storage)
        study.tell(study.ask(), 1.0)
    return storage


@pytest.mark.parametrize("number", [7, 2**31, 10**30])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/studies/{study}/{missing}/note"),
        ("PUT", "/api/studies/{study}/{missing}/note/"),
        ("PUT", "/api/studies/{missing}/{trial}/note"),
        ("PUT", "/api/studies/{missing}/note"),
        ("GET", "/api/studies/{missing}"),
        ("GET", "/api/studies/{missing}/param_importances"),
        ("GET", "/csv/{missing}"),
        ("GET", "/artifacts/{missing}/0a-1b"),
        ("GET", "/artifacts/{study}/{missing}/0a-1b"),
    ],
)
def test_what_does_not_exist_is_not_found(two_studies, tmp_path, method, path, number):
    study = two_studies.get_all_studies()[0]._study_id
    trial = two_studies.get_all_trials(study)[0]._trial_id
    guarded = guard(make_app(two_studies, tmp_path), two_studies, is_local=True)
    asked = path.format(study=study, trial=trial, missing=number)
    note = {"body": "hello", "version": 1} if method == "PUT" else None
    status, body = ask(guarded, asked, method, note)
    assert status.startswith("404"), (status, body)
    assert str(number) in json.loads(body)["reason"]
    assert not two_studies.get_study_system_attrs(study)


def test_a_trial_of_another_study_is_not_found(two_studies, tmp_path):
    study, other = (study._study_id for study in two_studies.get_all_studies())
    guarded = guard(make_app(two_studies, tmp_path), two_studies, is_local=True)
    (theirs,) = two_studies.get_all_trials(other)
    note = {"body": "hello", "version": 1}
    where = f"/api/studies/{study}/{theirs._trial_id}/note"
    assert ask(guarded, where, "PUT", note)[0].startswith("404")
    where = f"/api/studies/{other}/{theirs._trial_id}/note"
    assert ask(guarded, where, "PUT", note)[0].startswith("204")


@pytest.mark.parametrize(
    "note",
    [
        None,
        [],
        5,
        {"body": ["a"], "version": 1},
        {"body": 5, "version": 1},
        {"body": "a", "version": "1"},
        {"body": "a", "version": True},
        {"version": 1},
    ],
)
@pytest.mark.parametrize("path", ["/api/studies/0/note", "/api/studies/0/0/note"])
def test_what_is_no_note_is_not_kept(app, storage, path, note):
    status, body = ask(guard(app, storage, is_local=True), path, "PUT", note)
    assert status.startswith("400")
    assert "a note is" in json.loads(body)["reason"]
    assert not storage.get_study_system_attrs(0)


@pytest.mark.parametrize("how", ["file", "folder", "nothing", "artifacts"])
@pytest.mark.parametrize("study", ["0", "-0", "0/0"])
def test_what_a_link_leads_to_is_not_shown(storage, app, tmp_path, how, study):
    mine, artifacts = tmp_path / "mine", tmp_path / "artifacts"
    mine.mkdir()
    (mine / "0a-1b").write_text("mine")
    if how == "artifacts":
        artifacts.symlink_to(mine)
    else:
        artifacts.mkdir()
        target = {"file": mine / "0a-1b", "folder": mine, "nothing": tmp_path / "none"}[how]
        (artifacts / "0a-1b").symlink_to(target)
    known = {"artifact_id": "0a-1b", "filename": "a", "mimetype": "text/plain", "encoding": None}
    for key in ("artifacts:0a-1b", "dashboard:artifacts:0:0a-1b"):
        storage.set_study_system_attr(0, key, json.dumps(known))
    asked = f"/artifacts/{study}/0a-1b"
    status, body = ask(guard_files(app, artifacts), asked)
    assert status.startswith("404")
    assert b"mine" not in body
    if how in ("file", "artifacts"):
        assert b"mine" in ask(app, asked)[1]


def test_a_file_that_is_there_is_shown(storage, app, tmp_path):
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "0a-1b").write_text("ours")
    known = {"artifact_id": "0a-1b", "filename": "a", "mimetype": "text/plain", "encoding": None}
    storage.set_study_system_attr(0, "artifacts:0a-1b", json.dumps(known))
    assert ask(guard_files(app, artifacts), "/artifacts/0/0a-1b")[1] == b"ours"
    assert ask(guard_files(app, artifacts), "/artifacts/0/0a-1c")[0].startswith("404")
