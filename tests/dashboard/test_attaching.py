from __future__ import annotations

import json
import os

import pytest

from dpod_search.dashboard.attaching import Attachment
from dpod_search.dashboard.attaching import describe
from dpod_search.dashboard.attaching import key_of
from dpod_search.dashboard.attaching import link_to
from dpod_search.dashboard.attaching import store


def test_a_files_name_follows_from_content_and_place(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"weights")
    one = Attachment("a.bin", file, 3)
    assert one.artifact_id == Attachment("a.bin", b"weights", 3).artifact_id
    others = [
        Attachment("b.bin", b"weights", 3),
        Attachment("a.bin", b"other", 3),
        Attachment("a.bin", b"weights", 4),
        Attachment("a.bin", b"weights"),
    ]
    assert len({one.artifact_id, *(other.artifact_id for other in others)}) == 5


def test_large_files_are_linked_and_need_no_room(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    store(tmp_path / "artifacts", Attachment(file.name, file), "0")
    assert (tmp_path / "artifacts" / "0").samefile(file)


def test_where_there_are_no_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    store(tmp_path / "artifacts", Attachment(file.name, file), "0")
    assert not (tmp_path / "artifacts" / "0").samefile(file)
    assert (tmp_path / "artifacts" / "0").read_bytes() == b"weights"


@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_there_is_left_alone_unless_it_was_changed(tmp_path, is_file):
    content = tmp_path / "a" if is_file else b"ours"
    (tmp_path / "a").write_bytes(b"ours")
    artifacts = tmp_path / "artifacts"
    store(artifacts, Attachment("a", content), "0")
    before = (artifacts / "0").stat()
    store(artifacts, Attachment("a", content), "0")
    assert (artifacts / "0").stat() == before
    (artifacts / "0").unlink()
    (artifacts / "0").write_bytes(b"other")
    store(artifacts, Attachment("a", content), "0")
    assert (artifacts / "0").read_bytes() == b"ours"


def test_a_type_is_told_by_the_name():
    assert json.loads(describe(Attachment("widths.png", b"", 3), "0"))["mimetype"] == "image/png"
    unknown = json.loads(describe(Attachment("model.pt2", b"", 3), "0"))
    assert unknown["mimetype"] == "application/octet-stream"


def test_files_of_trials_and_of_the_study_have_places_of_their_own():
    of_trial, of_study = Attachment("a", b"", 3), Attachment("a", b"")
    assert link_to(1, of_trial, "0") == "/artifacts/1/3/0"
    assert link_to(1, of_study, "0") == "/artifacts/1/0"
    assert key_of(of_trial, "0") != key_of(of_study, "0")
