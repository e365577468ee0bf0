"""The export stage: what was scored is what is delivered, or it fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from pipeline.tiny import load_tiny
from pipeline.tiny import put_in_marker

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import ExportError
from dpod_search.errors import RunFolderError
from dpod_search.export import formats
from dpod_search.export import onnx
from dpod_search.export.source import CannotWriteError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.inputs import ModelCall
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.stages import exporting
from dpod_search.supernet import discovery


def export_again(folder, *overrides):
    return run_stages(load_tiny(*overrides), folder, stages=["export"])


def members_of(folder):
    return read_json(folder / "front.json")["members"]


def test_statistics_from_before_calibration_are_not_delivered(run):
    """A file as it would be, had it been written before its BatchNorms were calibrated."""
    folder = members_of(run)[-1]["folder"]
    file = run / "finetuned" / folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    for name, tensor in tensors.items():
        if name.endswith("running_mean"):
            tensors[name] = torch.zeros_like(tensor)
        elif name.endswith("running_var"):
            tensors[name] = torch.ones_like(tensor)
    safetensors.torch.save_file(tensors, file)
    put_in_marker(run, "finetune", str(file.relative_to(run)))
    with pytest.raises(ExportError, match="front.json says .*stale BatchNorm statistics"):
        export_again(run)
    assert not list((run / "exported" / folder).glob("model*"))


@pytest.mark.parametrize("key", ["test_accuracy", "validation_accuracy"])
def test_a_front_that_says_one_picture_more_is_an_error(run, key):
    front = read_json(run / "front.json")
    front["members"][-1][key] += 1 / 359  # of 359 pictures each
    write_json(run / "front.json", front)
    put_in_marker(run, "finetune", "front.json")
    with pytest.raises(ExportError, match=rf"on \d+ {key.partition('_')[0]} samples, and front"):
        export_again(run)


@pytest.mark.parametrize("stage", ["finetune", "export", "report"])
def test_a_front_that_names_a_folder_elsewhere_is_refused(run, stage):
    victim = run.parent / "victim"
    shutil.copytree(run / "finetuned" / members_of(run)[-1]["folder"], victim)
    held = sorted(victim.iterdir())
    front = read_json(run / "front.json")
    front["members"][-1]["folder"] = "../../victim"
    write_json(run / "front.json", front)
    put_in_marker(run, "finetune", "front.json")
    with pytest.raises(CheckpointError, match=r"folder must be the number of a trial, or full"):
        run_stages(load_tiny(), run, stages=[stage])
    assert sorted(victim.iterdir()) == held


def test_nothing_is_exported_through_a_link(run):
    shutil.rmtree(run / "exported")
    (elsewhere := run.parent / "elsewhere").mkdir()
    (run / "exported").symlink_to(elsewhere)
    with pytest.raises(RunFolderError, match="exported is a link, and a run follows none"):
        export_again(run)
    assert not list(elsewhere.iterdir())


def test_every_file_is_scored_on_the_test_split(finished):
    manifest = read_json(finished / "exported" / "manifest.json")
    for member, model in zip(members_of(finished), manifest["models"], strict=True):
        files = {name: file for name, file in model["files"].items() if name != "card"}
        assert {f["test_accuracy"] for f in files.values()} == {member["test_accuracy"]}
        assert all(f["max_difference"] <= 1e-4 for f in files.values())


def test_the_manifest_says_how_pictures_become_input(finished):
    for model in read_json(finished / "exported" / "manifest.json")["models"]:
        said = model["input"]
        assert said["shape"] == [1, 8, 8]
        assert (said["peak"], said["mean"], said["std"]) == (16, [0.3053], [0.376])
        assert said["classes"] == [str(digit) for digit in range(10)]
        assert model["notes"] == []


def test_the_card_says_what_the_model_is_and_its_code_runs(finished, tmp_path, monkeypatch):
    manifest = read_json(finished / "exported" / "manifest.json")
    model = manifest["models"][0]
    path = finished / model["files"]["card"]["path"]
    assert hash_file(path) == model["files"]["card"]["sha256"]
    text = path.read_text()
    for value in (model["test_accuracy"], model["validation_accuracy"]):
        assert f"{100 * value:.2f} %" in text
    assert f"| macs | {model['macs']:,} |" in text
    assert f"`{manifest['data']}`" in text
    for name, width in model["widths"].items():
        assert f"| `{name}` | {width} |" in text
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # others read this folder too
    codes = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    assert len(codes) == 2
    made = []
    for code in codes:
        held = {"images": torch.ones(3, 1, 8, 8)}
        exec(code, held)  # noqa: S102  # what a user would paste
        made.append(held["logits"])
    torch.testing.assert_close(made[0], made[1])


def test_the_card_says_which_macs_are_not_counted(run, monkeypatch):
    uncounted = [
        "rnn (/home/me/net.py:8)",
        "rnn (/home/me/net.py:9)",
        "einsum (/home/me/net.py:3)",
    ]
    monkeypatch.setattr(discovery, "list_uncounted", lambda *_: uncounted)
    shutil.rmtree(run / "exported")
    export_again(run)
    for model in read_json(run / "exported" / "manifest.json")["models"]:
        (note,) = model["notes"]
        assert note == "Its macs are without those of rnn, einsum: no closed form counts them."
        assert note in (run / model["files"]["card"]["path"]).read_text()


def test_a_net_that_is_no_code_is_exported_in_the_other_ways(run, monkeypatch):
    def refuse(*_, **__):
        raise CannotWriteError("it is odd")

    monkeypatch.setattr(formats, "write_source", refuse)
    shutil.rmtree(run / "exported")
    export_again(run)
    for model in read_json(run / "exported" / "manifest.json")["models"]:
        assert set(model["files"]) == {"safetensors", "torch_export", "card"}
        (note,) = model["notes"]
        assert note.startswith("There is no model.py: ")
        assert "it cannot be written as code: it is odd" in note
        assert "no model.py" in (run / model["files"]["card"]["path"]).read_text()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("no model.py for" in str(line) for line in lines)
    # Who asks for it by name is told.
    with pytest.raises(ExportError, match=r"python export of model\.py failed: .* it is odd"):
        export_again(run, 'export.formats=["python"]')


def test_eight_bits_say_what_they_cost(run):
    pytest.importorskip("onnxruntime")
    export_again(run, 'export.formats=["onnx_int8"]')
    for model in read_json(run / "exported" / "manifest.json")["models"]:
        file = model["files"]["onnx_int8"]
        assert 0 <= file["test_accuracy"] <= 1
        assert file["max_difference"] > 1e-4
        said = f"| test accuracy in 8 bits | {100 * file['test_accuracy']:.2f} % |"
        assert said in (run / model["files"]["card"]["path"]).read_text()


def test_a_missing_extra_is_said_before_anything_is_written(run, monkeypatch):
    monkeypatch.setattr(onnx, "_PACKAGES", ("no_such_package",))
    before = hash_file(run / "exported" / "manifest.json")
    with pytest.raises(ConfigError, match=r"pip install \"dpod-search\[onnx\]\""):
        export_again(run, 'export.formats=["safetensors", "onnx"]')
    assert hash_file(run / "exported" / "manifest.json") == before


def test_files_of_other_formats_are_not_deleted_in_silence(run, caplog):
    export_again(run, 'export.formats=["safetensors"]')
    caplog.clear()
    export_again(run, 'export.formats=["torch_export"]')
    (told,) = [each.getMessage() for each in caplog.records if "deleted" in each.getMessage()]
    for model in read_json(run / "exported" / "manifest.json")["models"]:
        folder = Path(model["files"]["card"]["path"]).parent.as_posix()
        assert f"{folder}/model.safetensors" in told
        assert not (run / folder / "model.safetensors").exists()
        assert f"{folder}/model.pt2" not in told


def test_eight_bits_of_several_inputs_are_refused_at_the_start():
    pytest.importorskip("onnxruntime")
    calls = ModelCall((torch.ones(2, 3), torch.ones(2, 3)), {})
    export = SimpleNamespace(formats=("onnx_int8",))
    session = SimpleNamespace(config=SimpleNamespace(export=export), calibration_images=calls)
    with pytest.raises(ConfigError, match=r"onnx_int8.*takes several; leave it out"):
        exporting.check_formats(session)
    session.calibration_images = torch.ones(2, 3)
    exporting.check_formats(session)
