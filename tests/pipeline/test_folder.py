from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from pipeline.tiny import load_tiny

from dpod_search.config import load_study
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.files import hash_file
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import read_status


HOLD = """
import sys
from pathlib import Path
from dpod_search.pipeline.folder import RunFolder
with RunFolder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder that another process works in."""
    path = tmp_path_factory.mktemp("held") / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_pid_of_the_first(held):
    path, process = held
    with pytest.raises(
        RunFolderError, match=f"in use by another process .process {process.pid}."
    ) as e:
        RunFolder(path).__enter__()
    assert str(path) in str(e.value)
    assert "--out" in str(e.value)
    (path / "config.toml").write_text('name = "digits"\n')
    assert read_status(path)["is_running"]


def test_a_killed_process_leaves_no_lock(held):
    path, process = held
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with RunFolder(path):
        assert (path / ".owner").read_text() == f"{os.getpid()}\n"


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0")


def list_files(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir()}


def test_what_a_killed_process_was_writing_is_deleted(tmp_path):
    kept = tmp_path / "finetuned" / "3" / "model.safetensors"
    touch(
        kept,
        tmp_path / ".training.checkpoint.safetensors.123.part",
        tmp_path / "..owner.123.part",
        tmp_path / ".stages" / ".train.json.123.part",
        tmp_path / "finetuned" / "..3.checkpoint.safetensors.123.part",
        tmp_path / "finetuned" / ".3.part" / ".model.safetensors.123.part",
        tmp_path / "exported" / ".manifest.json.123.part",
        tmp_path / "exported" / "full" / ".model.pt2.123.part",
        tmp_path / "figures" / ".front.csv.123.part",
    )
    with RunFolder(tmp_path) as folder:
        folder.claim(load_tiny())
        folder.recover()
        assert kept.exists()
        assert not list(tmp_path.rglob("*.part"))


def test_what_looks_like_a_leftover_and_is_none_stays(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    touch(
        run / ".film.mkv.part",
        run / ".film.mkv.123.part",
        run / ".other.part" / "keep.txt",
        run / "finetuned" / ".other.part" / "keep.txt",
        run / "films" / ".config.toml.123.part",
        run / "another" / ".training.checkpoint.safetensors.123.part",
        run / "another" / "finetuned" / ".3.part" / ".model.safetensors.123.part",
        run / "exported" / "full" / "mine" / ".model.pt2.123.part",
        elsewhere / ".manifest.json.123.part",
        elsewhere / "full" / ".model.pt2.123.part",
    )
    (run / "exported" / "link").symlink_to(elsewhere / "full")
    with RunFolder(run) as folder:
        folder.claim(load_tiny())
        before = list_files(tmp_path)
        folder.recover()
        assert list_files(tmp_path) == before


def test_who_is_refused_while_a_report_reads_is_told_of_no_process_that_has_ended(tmp_path):
    with RunFolder(tmp_path):
        pass
    with (
        RunFolder(tmp_path).looked_into(),
        pytest.raises(RunFolderError, match="is in use by another process; wait"),
    ):
        RunFolder(tmp_path).__enter__()


def test_a_folder_that_holds_no_run_is_not_tidied(tmp_path):
    touch(tmp_path / ".training.json.123.part", tmp_path / "finetuned" / ".3.part" / "keep.txt")
    before = list_files(tmp_path)
    with RunFolder(tmp_path) as folder:
        folder.recover()
    assert before <= list_files(tmp_path)


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_kill_between_the_renames_of_a_subnet_is_completed(tmp_path, is_replaced):
    finetuned = tmp_path / "finetuned"
    new, old = finetuned / ".13.part", finetuned / ".13.old"
    touch(old / "model.safetensors", old / "notes.txt")
    if is_replaced:
        touch(new / "model.safetensors")
        (new / "model.safetensors").write_bytes(b"new")
    with RunFolder(tmp_path) as folder:
        folder.claim(load_tiny())
        folder.recover()
    assert list_files(finetuned) == {"13/model.safetensors", "13/notes.txt"}
    model = (finetuned / "13" / "model.safetensors").read_bytes()
    assert model == (b"new" if is_replaced else b"0")
    assert {path.name for path in finetuned.iterdir()} == {"13"}


def test_the_folder_is_made_locked_and_freed(tmp_path):
    path = tmp_path / "deep" / "run"
    with RunFolder(path) as folder:
        assert folder.path == path
        with pytest.raises(RunFolderError, match=f"process {os.getpid()}"):
            RunFolder(path).__enter__()
    with RunFolder(path):
        pass


def test_without_the_owners_number_the_message_is_still_whole(tmp_path):
    with RunFolder(tmp_path):
        (tmp_path / ".owner").write_text("garbage")
        with pytest.raises(RunFolderError, match="another process; wait"):
            RunFolder(tmp_path).__enter__()


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), RunFolder(tmp_path):
        raise KeyError
    with RunFolder(tmp_path):
        pass


def test_a_name_that_is_no_text_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(RunFolderError, match=r"o\\xe9 as a run folder: its name is not UTF-8"):
        RunFolder(tmp_path / os.fsdecode(b"o\xe9")).__enter__()
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_run_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunFolderError, match=r"cannot use .*file as a run folder"):
        RunFolder(path).__enter__()


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path / "run") as held:
        yield held


def test_a_new_folder_takes_any_study(folder):
    folder.check_study(load_tiny())
    assert not (folder.path / "config.toml").exists()
    folder.claim(load_tiny())
    assert load_study(folder.path / "config.toml") == load_tiny()
    folder.check_study(load_tiny())


def test_a_file_of_the_users_is_not_written_over(folder):
    (folder.path / "report.html").write_text("the user's")
    (folder.path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match=r"holds no run, .* write over report.html .*--out"):
        folder.check_study(load_tiny())
    folder.mark_done("train", {}, [])  # a run, then, whose config.toml was deleted
    folder.check_study(load_tiny())


def test_another_study_is_refused_and_named(folder):
    folder.claim(load_tiny())
    other = load_tiny('name="other"')
    with pytest.raises(RunFolderError, match=r"different study \(name: digits -> other\)"):
        folder.check_study(other)


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "training.epochs=3",
        "model.arguments={width=5}",
        "supernet.multiple=2",
        "evaluation.n_calibration=99",
        "data.validation_share=0.3",
        'device="cuda"',
    ],
)  # fmt: skip  (a table)
def test_what_the_weights_depend_on_may_change_before_they_are_there_not_after(folder, change):
    folder.claim(load_tiny())
    changed = load_tiny(change)
    folder.check_study(changed)
    folder.mark_done("train", {}, [])
    with pytest.raises(RunFolderError, match=r"different study \(") as caught:
        folder.check_study(changed)
    assert change.split("=")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_first_three_differences_are_named(folder):
    folder.claim(load_tiny())
    folder.mark_done("train", {}, [])
    changed = load_tiny("seed=1", "training.epochs=3", "training.lr=0.2", "training.flip=true")
    with pytest.raises(RunFolderError) as caught:
        folder.check_study(changed)
    assert str(caught.value).count("->") == 3
    assert "; ...)" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "search.n_trials=99",
        "finetune.epochs=2",
        "export.tolerance=0.1",
        "threads=2",
        'data.root="elsewhere"',
        "data.download=true",
        "training.n_workers=2",
        "training.checkpoint_seconds=1",
    ],
)  # fmt: skip  (a table)
def test_other_settings_may_change_any_time(folder, change):
    folder.claim(load_tiny())
    for stage in ("train", "search", "finetune", "export"):
        folder.mark_done(stage, {}, [])
    folder.check_study(load_tiny(change))


def test_a_damaged_study_file_is_named(folder):
    (folder.path / "config.toml").write_text("name = \n")
    with pytest.raises(ConfigError, match=r"config.toml is not valid TOML"):
        folder.check_study(load_tiny())


INPUTS = {"seed": 0, "model": {"width": 4}}


@pytest.fixture
def ended(folder):
    (folder.path / "sub").mkdir()
    (folder.path / "a.json").write_text("1")
    (folder.path / "sub" / "b.bin").write_bytes(b"2")
    folder.mark_done("train", INPUTS, ["sub/b.bin", "a.json"])
    return folder


def test_a_stage_is_done_with_the_same_inputs_in_any_order(ended):
    assert ended.is_done("train", INPUTS)
    assert ended.is_done("train", {"model": {"width": 4}, "seed": 0})
    assert not ended.is_done("search", INPUTS)
    assert ended.has_ended("train")
    assert not ended.has_ended("search")


def test_other_inputs_are_not_done(ended):
    assert not ended.is_done("train", {**INPUTS, "seed": 1})
    assert ended.has_other_inputs("train", {**INPUTS, "seed": 1})
    assert not ended.has_other_inputs("train", INPUTS)
    assert not ended.has_other_inputs("search", INPUTS)


def test_a_deleted_output_is_made_again(ended):
    (ended.path / "sub" / "b.bin").unlink()
    assert not ended.is_done("train", INPUTS)


def test_an_altered_output_is_never_written_over(ended):
    (ended.path / "sub" / "b.bin").write_bytes(b"3")
    with pytest.raises(CheckpointError, match=r"b.bin is damaged or was changed .*delete it"):
        ended.is_done("train", INPUTS)


def test_a_stage_can_be_forgotten(ended):
    ended.unmark("train")
    ended.unmark("train")
    assert not ended.has_ended("train")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"inputs": 3}', '{"outputs": {}}', "null"])
def test_a_damaged_marker_is_named(ended, text):
    marker = ended.path / ".stages" / "train.json"
    marker.write_text(text)
    for ask in (ended.is_done, ended.has_other_inputs):
        with pytest.raises(CheckpointError, match=r"train.json is damaged.*delete it") as caught:
            ask("train", INPUTS)
        assert "\n" not in str(caught.value)


def test_markers_say_what_they_are(ended):
    marker = json.loads((ended.path / ".stages" / "train.json").read_text())
    assert marker["stage"] == "train"
    assert list(marker["outputs"]) == ["a.json", "sub/b.bin"]


def test_an_earlier_stage_is_required(ended):
    assert ended.require("a.json", "train") == ended.path / "a.json"
    assert ended.require_hash("a.json", "train") == hash_file(ended.path / "a.json")
    with pytest.raises(
        RunFolderError, match=r"c.json is missing or not finished; run `dpod-search train`"
    ):
        ended.require("c.json", "train")
    ended.require_stage("train", INPUTS)
    with pytest.raises(RunFolderError, match="run `dpod-search train` with the same"):
        ended.require_stage("train", {**INPUTS, "seed": 1})


@pytest.mark.parametrize(
    ("name", "content"), [(".lock", "mine"), (".owner", "me"), (".owner", "12")]
)
def test_a_file_of_the_users_where_a_mark_would_be_is_not_touched(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(RunFolderError, match=f"the {name} in it is none of a run's"):
        RunFolder(tmp_path).__enter__()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: content}


def test_a_link_is_not_taken_for_a_mark(tmp_path):
    (tmp_path / "mine").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunFolderError, match="is none of a run's"):
        RunFolder(tmp_path / "run").__enter__()


def test_what_is_refused_leaves_no_mark_in_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "film.mkv").write_text("")
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


def test_a_folder_made_for_nothing_is_taken_away_with_those_around_it(tmp_path):
    (tmp_path / "there").mkdir()
    for inside in ("new/run", "there", "there/run"):
        with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / inside):
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert {path.name for path in (tmp_path / "there").iterdir()} <= {".lock", ".owner"}


def test_a_folder_that_holds_something_or_ended_well_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "one"):
        (tmp_path / "one" / "notes.txt").touch()
        raise ZeroDivisionError
    assert (tmp_path / "one" / "notes.txt").exists()
    with RunFolder(tmp_path / "two"):
        pass
    with RunFolder(tmp_path / "two"):
        pass


def lead_elsewhere(path, how):
    """Put a link in the place of a file or a folder."""
    target = path.parent / "mine" if how != "itself" else path
    if how == "file":
        target.write_text("mine")
    elif how == "folder":
        target.mkdir()
    path.symlink_to(target)


@pytest.mark.parametrize("how", ["file", "folder", "nothing", "itself"])
@pytest.mark.parametrize(
    "name",
    [
        "config.toml",
        "log.jsonl",
        "latency_table.json",
        "study.journal",
        ".stages",
        ".stages/train.json",
        "finetuned/full",
        "finetuned/.3.checkpoint.safetensors",
        "exported/13/model.onnx",
        "artifacts",
        "figures/front.png",
        "report.html",
    ],
)
def test_a_link_in_the_place_of_a_runs_own_is_refused_and_not_followed(tmp_path, name, how):
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    lead_elsewhere(run / name, how)
    before = list_files(tmp_path)
    for look in (RunFolder(run).__enter__, lambda: RunFolder(run).check_study(load_tiny())):
        with pytest.raises(RunFolderError, match=f"{name} is a link, and a run follows none"):
            look()
    assert list_files(tmp_path) == before


def test_a_run_folder_may_be_a_link_itself(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with RunFolder(tmp_path / "run") as folder:
        folder.claim(load_tiny())
    assert (tmp_path / "disk" / "config.toml").is_file()


def test_a_study_that_was_changed_is_named_until_it_is_written_again(folder):
    with folder.noting("run", "config.toml"):
        folder.claim(load_tiny())
        folder.check_study(load_tiny())
    folder.check_study(load_tiny())
    file = folder.path / "config.toml"
    file.write_text(file.read_text().replace("seed = 0", "seed = 1"))
    with pytest.raises(CheckpointError, match=r"config.toml .* changed since `run` wrote it"):
        folder.check_study(load_tiny())
    with folder.noting("run", "config.toml"):
        folder.claim(load_tiny())
    folder.check_study(load_tiny())


def test_a_kill_while_the_study_is_written_leaves_one_that_nothing_is_known_of(folder):
    with folder.noting("run", "config.toml"):
        folder.claim(load_tiny())
    with pytest.raises(KeyboardInterrupt), folder.noting("run", "config.toml"):
        folder.claim(load_tiny("search.n_trials=99"))
        raise KeyboardInterrupt
    folder.check_study(load_tiny())


def test_a_large_file_is_hashed_once(folder, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "dpod_search.pipeline.folder.hash_file",
        lambda file: hashed.append(file.name) or hash_file(file),
    )
    (folder.path / "weights").write_bytes(bytes(2**21))
    folder.mark_done("train", INPUTS, ["weights"])
    for _ in range(3):
        assert folder.is_done("train", INPUTS)
        folder.require_hash("weights", "train")
    assert hashed == ["weights"]
    (folder.path / "weights").write_bytes(bytes(2**21 + 1))
    with pytest.raises(CheckpointError, match="weights is damaged or was changed"):
        folder.is_done("train", INPUTS)
