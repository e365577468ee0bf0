"""Files appear whole: whatever fails, the earlier file is there, and nothing is left beside it."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import CheckpointError
from dpod_search.files import expand_path
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import parse_toml
from dpod_search.files import read_bounded
from dpod_search.files import read_json
from dpod_search.files import whole_folder
from dpod_search.files import write_bytes
from dpod_search.files import write_json
from dpod_search.files import write_text
from dpod_search.files import write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writes_create_folders_replace_files_and_leave_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "one")
    write_text(path, "zwölf")

    assert path.read_bytes() == "zwölf".encode()
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existed: bool
) -> None:
    path = tmp_path / "file"
    if existed:
        write_bytes(path, b"earlier")
    monkeypatch.setattr(os, step, refuse)

    with pytest.raises(CheckpointError, match=r"No space left on device.*unchanged") as caught:
        write_bytes(path, b"later")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert names(tmp_path) == (["file"] if existed else [])
    assert not existed or path.read_bytes() == b"earlier"


# Runs in a process of its own, because the limit holds for the whole process.
WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from dpod_search.errors import CheckpointError
from dpod_search.files import whole_folder, write_bytes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
folder = Path(sys.argv[1])
for write in (lambda: write_bytes(folder / "file", bytes(20_000)), lambda: fill(folder / "more")):
    def fill(path):
        with whole_folder(path) as aside:
            (aside / "part").write_bytes(bytes(20_000))
    try:
        write()
    except CheckpointError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file size limits here")
def test_a_disk_that_really_refuses_leaves_the_earlier_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"earlier")
    with whole_folder(tmp_path / "more") as aside:
        (aside / "part").write_bytes(b"earlier")

    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )

    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("File too large" in line for line in lines)
    assert names(tmp_path) == ["file", "more"]
    assert (tmp_path / "file").read_bytes() == b"earlier"
    assert (tmp_path / "more" / "part").read_bytes() == b"earlier"


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")

    for path in (tmp_path / "runs" / "file", tmp_path / "runs" / "deep" / "file"):
        with pytest.raises(CheckpointError, match="could not write") as caught:
            write_text(path, "text")
        assert "\n" not in str(caught.value)
    assert (tmp_path / "runs").read_text() == "not a folder"


def test_a_folder_that_cannot_be_flushed_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some file systems cannot; the file is whole all the same, and saying otherwise would be wrong.
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "file", "text")

    assert (tmp_path / "file").read_text() == "text"


def test_an_error_of_the_writer_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyError("the writer's own")

    with pytest.raises(KeyError):
        write_whole(tmp_path / "file", fail)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", float("nan"))
    assert names(tmp_path) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip  (reads better)


@given(value=JSON)
def test_json_round_trips(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)

    assert read_json(path) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"half": ', "is damaged"),
        (b"", "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (None, "is missing; run the stage that writes it"),
    ],
)
def test_json_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CheckpointError, match=message) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(tmp_path)


def test_a_whole_folder_takes_the_earlier_ones_place_at_once(tmp_path: Path) -> None:
    path = tmp_path / "models"
    with whole_folder(path) as aside:
        (aside / "a").write_text("one")
        assert not path.exists()
    with whole_folder(path) as aside:
        assert names(aside) == []
        (aside / "deep").mkdir()
        (aside / "deep" / "b").write_text("two")
        assert names(path) == ["a"]

    assert names(path) == ["a", "deep"]
    assert names(tmp_path) == ["models"]


def test_the_users_own_files_stay_in_a_folder_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "models"
    with whole_folder(path) as aside:
        (aside / "model").write_text("one")
    (path / "notes").mkdir()
    (path / "notes" / "mine.txt").write_text("the user's")
    with whole_folder(path) as aside:
        (aside / "model").write_text("two")

    assert (path / "model").read_text() == "two"
    assert (path / "notes" / "mine.txt").read_text() == "the user's"
    assert names(tmp_path) == ["models"]


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("the user's")
    path.symlink_to(elsewhere)
    with whole_folder(path) as aside:
        (aside / "model").write_text("two")

    assert names(path) == ["model"]
    assert names(elsewhere) == ["mine.txt"]
    assert names(tmp_path) == ["elsewhere", "models"]


@pytest.mark.parametrize("error", [KeyError("own"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_folder_that_fails_leaves_the_earlier_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "models"
    with whole_folder(path) as aside:
        (aside / "a").write_text("one")

    expected = CheckpointError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), whole_folder(path) as aside:
        (aside / "b").write_text("two")
        raise error
    assert names(path) == ["a"]
    assert names(tmp_path) == ["models"]


@pytest.mark.parametrize("refused", [1, 2])
def test_a_rename_that_fails_leaves_the_earlier_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    path = tmp_path / "models"
    with whole_folder(path) as aside:
        (aside / "a").write_text("one")
    real, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == refused:
            refuse()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with (
        pytest.raises(CheckpointError, match="No space left") as caught,
        whole_folder(path) as aside,
    ):
        (aside / "b").write_text("two")
    assert "\n" not in str(caught.value)
    assert names(path) == ["a"]
    assert names(tmp_path) == ["models"]


def test_a_process_killed_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "models"
    for name, text in ((".models.old", "one"), (".models.part", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(text)
    (tmp_path / ".models.old" / "notes.txt").write_text("the user's")

    with whole_folder(path) as aside:
        assert (path / "model").read_text() == "two"
        assert names(aside) == []
        (aside / "model").write_text("three")
    assert (path / "model").read_text() == "three"
    assert names(path) == ["model", "notes.txt"]
    assert names(tmp_path) == ["models"]


def test_a_leftover_of_a_finished_replacement_is_cleaned_up(tmp_path: Path) -> None:
    path = tmp_path / "models"
    for folder, text in ((path, "new"), (tmp_path / ".models.old", "old")):
        folder.mkdir()
        (folder / "model").write_text(text)

    with pytest.raises(CheckpointError), whole_folder(path):
        raise OSError(28, "full")
    assert (path / "model").read_text() == "new"
    assert names(tmp_path) == ["models"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "models"
    path.write_text("the user's")

    with pytest.raises(CheckpointError, match="could not write"), whole_folder(path):
        pass
    assert path.read_text() == "the user's"
    assert names(tmp_path) == ["models"]


def test_hashes_are_pinned_and_ignore_the_order_of_keys(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")

    assert hash_file(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert hash_value({"a": 1, "b": [2]}) == hash_value(json.loads('{"b": [2], "a": 1}'))
    assert hash_value({"a": 1}) != hash_value({"a": 2})


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, "\xff", "", "{", "\ufeff1"]
)
def test_what_python_cannot_make_json_of_is_damaged(tmp_path: Path, text: str) -> None:
    file = tmp_path / "search.json"
    file.write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))

    with pytest.raises(CheckpointError, match=r"search\.json is damaged") as caught:
        read_json(file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_larger_than_it_can_be_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "front.json"
    with file.open("wb") as sparse:
        sparse.truncate(2**30 + 1)

    with pytest.raises(CheckpointError, match="it has 1,073,741,825 bytes, and at most"):
        read_json(file)
    with pytest.raises(ValueError, match="it has 1,073,741,825 bytes, and at most 9 are read"):
        read_bounded(file, 9)


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 3_000, "x = " + "{a = " * 2_000, "x = " + "9" * 5_000]
)
def test_what_python_cannot_make_toml_of_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="too deep|Exceeds the limit"):
        parse_toml(text)


def test_a_text_with_half_a_character_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "caf\udce9, grüße")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "caf\\udce9, grüße"


def test_the_home_folder_of_nobody_is_a_path_where_nothing_is(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("~/x") == tmp_path / "x"
    assert expand_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
