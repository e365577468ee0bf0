from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic.dataclasses import dataclass

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.records import record
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Name
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import locate


@dataclass(frozen=True, kw_only=True)
class Part(Record):
    """A part of the file."""

    SPREAD: ClassVar[str] = "sizes"

    name: Text
    sizes: Mapping[str, Number]
    last: Flag


@dataclass(frozen=True, kw_only=True)
class Whole(FileRecord):
    """A file."""

    FILE: ClassVar[str] = "whole.json"

    n: Positive
    share: Number | None
    counts: tuple[Count, ...]
    parts: Mapping[str, Part]
    path: Name = "model.py"
    note: Text | None = None


GOOD = {"n": 3, "share": 0.5, "counts": [0, 1], "parts": {}}


def read(folder: Path, content: object) -> Whole:
    (folder / "whole.json").write_text(json.dumps(content))
    return Whole.read(folder)


def test_reads_what_it_wrote_and_writes_what_it_read(tmp_path: Path) -> None:
    part = Part(name="a", sizes={"macs": 1000, "latency": 0.5}, last=True)
    whole = Whole(n=3, share=None, counts=(1,), parts={"x": part}, path="exported/3/model.py")
    whole.write(tmp_path)
    assert json.loads((tmp_path / "whole.json").read_text()) == {
        "n": 3,
        "share": None,
        "counts": [1],
        "parts": {"x": {"name": "a", "macs": 1000, "latency": 0.5, "last": True}},
        "path": "exported/3/model.py",
    }
    assert list(whole.to_json()["parts"]["x"]) == ["name", "macs", "latency", "last"]
    assert read(tmp_path, GOOD).to_json() == GOOD


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": 0}, "n must be a whole number >= 1, got 0"),
        ({"n": True}, "n must be a whole number >= 1, got True"),
        ({"n": "3"}, "n must be a whole number >= 1, got '3'"),
        ({"share": "0.5"}, "share must be a number, got '0.5'"),
        ({"share": float("nan")}, "share must be a finite number, got nan"),
        ({"share": float("inf")}, "share must be a finite number, got inf"),
        ({"share": 10**4000}, "share must be a finite number, got 1000"),
        ({"counts": [1, "a"]}, "counts must be a list of whole numbers, got [1, 'a']"),
        ({"counts": {"0": 1}}, "counts must be a list, got {'0': 1}"),
        ({"parts": []}, "parts must be an object, got []"),
        ({"parts": {"x": [1]}}, "parts.x must be an object, got [1]"),
        ({"parts": {"x": {"last": 1}}}, "parts.x.name must be text, got 'nothing'"),
        ({"note": 3}, "note must be text, got 3"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, GOOD | changes)
    message = str(caught.value)
    assert told in message
    assert message.startswith(f"{tmp_path}/whole.json is damaged: ")
    assert message.endswith("; delete it and run the stage that writes it again")
    assert "\n" not in message


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a//b", "a/./b", "", "C:/x", "a\\b", "a\nb", "a\0b", "a/"],
)
def test_a_path_in_a_file_is_a_name_inside_the_run(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match="path must be the name of a file inside"):
        read(tmp_path, GOOD | {"path": path})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[]", "the file must be a JSON object, got []"),
        (b'"text"', "the file must be a JSON object, got 'text'"),
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"\xff\xfe", "invalid start byte"),
        (b"[" * 100_000, "too deep"),
        (b'{"counts": ' * 50_000, "too deep"),
        (b"1" * 5_000, "Exceeds the limit"),
        (b" " * 5_001, "at most 5,000 are read"),
    ],
)
def test_what_is_no_such_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, told: str
) -> None:
    if told.endswith("are read"):
        monkeypatch.setattr(record, "_MAX_BYTES", 5_000)
    (tmp_path / "whole.json").write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        Whole.read(tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("do", [Whole.read, Whole.read_if_there])
def test_a_link_is_not_followed(tmp_path: Path, do: Callable[..., Whole]) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    whole = read(elsewhere, GOOD)
    (run / "whole.json").symlink_to(elsewhere / "whole.json")
    (run / "folder").symlink_to(elsewhere)
    for place in ("", "folder"):
        with pytest.raises(RunFolderError, match="is a link, and a run follows none"):
            do(run, place)
        with pytest.raises(RunFolderError, match="is a link, and a run follows none"):
            whole.write(run, place)
    assert Whole.read_if_there(run, "none") is None


def test_the_run_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    assert read(tmp_path / "run", GOOD).n == 3
    assert locate(tmp_path / "run", "a/b") == tmp_path / "run" / "a" / "b"
