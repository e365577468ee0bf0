from __future__ import annotations

import getpass
import json
import logging
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from pipeline.tiny import copy_run
from pipeline.tiny import load_tiny
from pipeline.tiny import put_in_marker
from pipeline.tiny import rewrite

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ObjectiveError
from dpod_search.errors import RunFolderError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.models import build_model
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import Session
from dpod_search.pipeline import read_status
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.logs import log_to
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages.delivering import read_finetuned
from dpod_search.progress import SilentProgress
from dpod_search.weights import save_weights
from dpod_search.widths import Widths
from dpod_search.widths import lies_in


NAMES = tuple(stage.name for stage in STAGES)


def run_tiny(folder, *overrides, **options):
    """Run the tiny study and return the stages that had work to do."""
    outcomes = run_stages(load_tiny(*overrides), folder, **options)
    return [outcome.name for outcome in outcomes if not outcome.was_done]


def forget(folder, *stages):
    """Take away what stages made, as if they had never run."""
    made = {
        "search": ["study.journal", "search.json", "trials.csv"],
        "finetune": ["finetuned", "front.json"],
        "export": ["exported"],
        "report": ["report.html", "figures"],
    }
    for stage in stages:
        (folder / ".stages" / f"{stage}.json").unlink()
        for name in made[stage]:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def trained(run):
    forget(run, "search", "finetune", "export", "report")
    return run


@pytest.fixture
def searched(run):
    forget(run, "finetune", "export", "report")
    return run


def read_journal(folder, name="digits"):
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    study = optuna.load_study(
        study_name=name,
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.RandomSampler(),
    )
    return study.get_trials(deepcopy=False)


def test_a_run_leaves_what_the_docs_say(finished):
    for name in (
        "config.toml",
        "environment.json",
        "log.jsonl",
        "supernet.safetensors",
        "training.json",
        "path.json",
        "study.journal",
        "search.json",
        "trials.csv",
        "front.json",
        "exported/manifest.json",
        "report.html",
        *(f".stages/{name}.json" for name in NAMES),
    ):  # fmt: skip  (a table)
        assert (finished / name).is_file(), name
    left = [p for p in finished.rglob("*") if ".part" in p.name or "checkpoint" in p.name]
    assert left == []


def test_the_second_run_skips_every_stage_also_where_it_was_moved_to(run):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    outcomes = run_stages(load_tiny(), run)
    assert [outcome.name for outcome in outcomes] == list(NAMES)
    assert all(outcome.was_done and outcome.seconds == 0 for outcome in outcomes)
    changed = {p.name for p, data in before.items() if p.read_bytes() != data}
    assert changed <= {"log.jsonl", ".owner"}


def test_stages_run_in_their_order_whatever_the_caller_says(run):
    outcomes = run_stages(load_tiny(), run, stages=["search", "train"])
    assert [outcome.name for outcome in outcomes] == ["train", "search"]


@pytest.mark.parametrize(
    "override", ["threads=1000", "training.n_workers=1000", "latency.n_threads=1000", ""]
)
def test_more_than_the_machine_bears_is_refused_before_anything_is_made(tmp_path, override):
    name = override.partition("=")[0] or "--jobs"
    with pytest.raises(ConfigError, match=f"{name} must be <= .* on this machine, .* got 1,000"):
        run_stages(
            load_tiny(*([override] if override else [])),
            tmp_path / "run",
            n_jobs=1 if override else 1000,
        )
    assert not (tmp_path / "run").exists()


def test_an_unknown_stage_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="no stage 'finetuning'"):
        run_tiny(tmp_path / "run", stages=["train", "finetuning"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "earlier"), [("search", "train"), ("finetune", "search"), ("export", "finetune")]
)
def test_a_stage_without_the_earlier_one_names_its_command(tmp_path, stage, earlier):
    with pytest.raises(RunFolderError, match=f"run `dpod-search {earlier}`"):
        run_tiny(tmp_path / "run", stages=[stage])


def test_a_report_without_a_run_is_refused(tmp_path):
    with pytest.raises(DpodSearchError) as caught:
        run_tiny(tmp_path / "run", stages=["report"])
    assert "\n" not in str(caught.value)


def test_a_command_on_a_folder_that_is_no_run_deletes_nothing_there(tmp_path):
    mine = tmp_path / "mine"
    for name in (
        "films/.other.part/keep.txt",
        "films/.film.mkv.part",
        "run/finetuned/.3.part/model.safetensors",
        "run/.training.checkpoint.safetensors.123.part",
    ):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).touch()
    before = set(mine.rglob("*"))
    with pytest.raises(RunFolderError, match=r"config.toml is missing"):
        run_tiny(mine, stages=["report"])
    assert before <= set(mine.rglob("*"))


def test_another_study_is_refused_and_nothing_is_touched(run):
    before = (run / "config.toml").read_bytes()
    with pytest.raises(RunFolderError, match=r"training.lr: 0.1 -> 0.2"):
        run_tiny(run, "training.lr=0.2")
    assert (run / "config.toml").read_bytes() == before


def test_weights_of_other_pictures_are_refused_and_kept(run):
    marker = run / ".stages" / "train.json"
    marker.write_text(json.dumps({**read_json(marker), "inputs": "of other pictures"}))
    before = hash_file(run / "supernet.safetensors")
    with pytest.raises(RunFolderError, match="trained on other pictures or another model"):
        run_tiny(run)
    assert hash_file(run / "supernet.safetensors") == before


def test_a_folder_in_use_is_refused(run):
    with RunFolder(run), pytest.raises(RunFolderError, match="in use"):
        run_tiny(run)


def test_more_trials_continue_the_same_study(run):
    first = read_journal(run)
    assert run_tiny(run, "search.n_trials=16", stages=["search"]) == ["search"]
    more = read_journal(run)
    assert len(more) == 16
    assert [(t.number, t.params, t.values) for t in more[:12]] == [
        (t.number, t.params, t.values) for t in first
    ]
    rows = (run / "trials.csv").read_text().splitlines()
    assert len(rows) == 17
    assert len((run / "config.toml").read_text().split("n_trials = 16")) == 2


def test_finetuning_never_searches(searched):
    before = {name: (searched / name).read_bytes() for name in ("search.json", "trials.csv")}
    with pytest.raises(RunFolderError, match="run `dpod-search search`"):
        run_tiny(searched, "search.n_trials=16", stages=["finetune"])
    other = f"sqlite:///{searched}/other.db"
    with pytest.raises(RunFolderError, match=r"run `dpod-search search`.*--storage"):
        run_tiny(searched, stages=["finetune"], storage=other)
    assert len(read_journal(searched)) == 12
    assert {name: (searched / name).read_bytes() for name in before} == before
    assert run_tiny(searched, stages=["finetune"]) == ["finetune"]


def test_a_run_ends_the_same_in_pieces_and_in_one_go(finished, trained):
    for stage in NAMES[1:]:
        assert run_tiny(trained, stages=[stage]) == [stage]
    for name in ("front.json", "exported/manifest.json", "path.json"):
        assert (trained / name).read_bytes() == (finished / name).read_bytes(), name
    for file in finished.glob("finetuned/*/model.safetensors"):
        assert hash_file(trained / file.relative_to(finished)) == hash_file(file)


def test_changed_finetuning_is_done_again_and_what_follows(run):
    overrides = ("finetune.epochs=2", 'export.formats=["safetensors"]')
    assert run_tiny(run, *overrides) == ["finetune", "export", "report"]
    assert run_tiny(run, *overrides) == []


def test_a_subnet_more_leaves_the_others_but_those_that_lie_in_it_as_they_are(run):
    def read_results():
        files = run.glob("finetuned/*/result.json")
        return {file.parent.name: read_json(file) for file in files}

    before = read_results()
    assert run_tiny(run, "finetune.n_subnets=3", stages=["finetune"]) == ["finetune"]
    after = read_results()
    assert set(before) < set(after)
    added = [as_widths(after[name]) for name in after.keys() - before.keys()]
    for name, result in before.items():
        if not any(lies_in(as_widths(result), other) for other in added):
            assert after[name] == result


def as_widths(result):
    return Widths(tuple(result["widths"]), tuple(result["widths"].values()))


def test_a_changed_export_is_done_again(run):
    assert run_tiny(run, 'export.formats=["safetensors"]') == ["export", "report"]
    manifest = read_json(run / "exported" / "manifest.json")
    written = {"safetensors", "python", "card"}
    assert all(set(model["files"]) == written for model in manifest["models"])


def test_a_deleted_supernet_is_trained_again_to_the_same_bits(run):
    before = hash_file(run / "supernet.safetensors")
    (run / "supernet.safetensors").unlink()
    # What follows finds its inputs unchanged; the report shows the new seconds.
    assert run_tiny(run) == ["train", "report"]
    assert hash_file(run / "supernet.safetensors") == before


@pytest.mark.parametrize("name", ["model.safetensors", "result.json"])
def test_a_deleted_finetuned_file_is_made_again(finished, run, name):
    folder = next((run / "finetuned").iterdir())
    (folder / name).unlink()
    assert run_tiny(run) == ["finetune"]
    kept = finished / "finetuned" / folder.name / "model.safetensors"
    assert hash_file(folder / "model.safetensors") == hash_file(kept)


@pytest.mark.parametrize(
    "name", ["supernet.safetensors", "search.json", "front.json", "exported/manifest.json"]
)
def test_an_altered_output_is_named_and_left(run, name):
    with (run / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(CheckpointError, match=f"{Path(name).name} is damaged or was changed"):
        run_tiny(run)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("search", "supernet.safetensors"),
        ("search", "path.json"),
        ("finetune", "supernet.safetensors"),
        ("export", "front.json"),
        ("export", "finetuned/*/model.safetensors"),
        ("report", "training.json"),
        ("report", "trials.csv"),
        ("report", "exported/manifest.json"),
        ("status", "search.json"),
        ("status", "front.json"),
    ],
)
def test_a_stage_takes_nothing_that_an_earlier_one_did_not_write(run, stage, name):
    file = next(run.glob(name))
    data = bytearray(file.read_bytes())
    place = data.index(b"0", len(data) // 2)
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{file.name} is damaged or was changed"):
        read_status(run) if stage == "status" else run_tiny(run, stages=[stage])


def test_a_stage_waits_for_the_end_of_the_earlier_one(run):
    (run / ".stages" / "train.json").unlink()
    with pytest.raises(RunFolderError, match="run `dpod-search train`"):
        run_tiny(run, stages=["search"])


@pytest.mark.parametrize("name", ["model.safetensors", "result.json"])
def test_a_subnet_that_was_finetuned_before_the_kill_is_checked(run, name):
    (run / ".stages" / "finetune.json").unlink()
    file = next((run / "finetuned").glob(f"*/{name}"))
    data = bytearray(file.read_bytes())
    data[data.rindex(b"0", 0, -40)] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"finetuned/\d+ is damaged or was changed .*delete"):
        run_tiny(run, stages=["finetune"])


def test_a_damaged_checkpoint_of_the_training_is_named(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "training.checkpoint.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match=r"training.checkpoint.safetensors .*delete it") as e:
        run_tiny(folder, stages=["train"])
    assert "\n" not in str(e.value)


def test_a_mistyped_study_may_be_corrected(tmp_path):
    folder = tmp_path / "run"
    for wrong in ('training.policy="dpad"', "training.policy_options={n_profile=3}"):
        with pytest.raises(ConfigError, match=r"training\.policy"):
            run_tiny(folder, wrong)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("stages", "overrides"),
    [
        (["train"], ['model.name="resnet9"']),
        (["train"], ['model.weights="nothing.safetensors"']),
        (["train"], ['data.name="imagefolder:nowhere"']),
        (["search"], []),
        (["finetune"], []),
        (["export"], []),
        (["report"], []),
        (NAMES, ['data.name="imagefolder:nowhere"']),
        (NAMES, ['search.constraints={macs="<= 1"}']),
        (NAMES, ['search.objectives=["accurate"]']),
    ],
)
def test_a_run_that_never_began_leaves_no_folder(tmp_path, stages, overrides):
    with pytest.raises(DpodSearchError):
        run_tiny(tmp_path / "runs" / "digits", *overrides, stages=stages)
    assert list(tmp_path.iterdir()) == []


def read_failures(folder):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["level"] == "ERROR"]


def test_an_objective_that_raises_names_its_trial_and_the_log_has_the_traceback(trained):
    objectives = 'search.objectives=["accuracy", "pipeline.tiny:RaisesOnce"]'
    place = "in line .* of .*tiny.py"
    words = (
        f"^trial 2: objective RaisesOnce raised KeyError {place}: 'nothing' .widths [0-9:]*.; m"
    )
    with pytest.raises(ObjectiveError, match=words):
        run_tiny(trained, objectives, stages=["search"])
    (failure,) = read_failures(trained)
    assert 'raise KeyError("nothing")' in failure["exception"]
    assert run_tiny(trained, objectives, "search.n_trials=4", stages=["search"]) == ["search"]


def test_a_footprint_that_raises_is_told_before_the_training(tmp_path):
    objectives = 'search.objectives=["accuracy", "pipeline.tiny:raise_at_once"]'
    with pytest.raises(
        ObjectiveError, match="objective raise_at_once raised ZeroDivisionError in line .*: odd"
    ):
        run_tiny(tmp_path / "run", objectives)
    (failure,) = read_failures(tmp_path / "run")
    assert 'raise ZeroDivisionError("odd")' in failure["exception"]
    assert not (tmp_path / "run" / "config.toml").exists()


def list_exported(folder):
    return {str(f.relative_to(folder)) for f in (folder / "exported").rglob("*") if f.is_file()}


def list_models(folder):
    models = read_json(folder / "exported" / "manifest.json")["models"]
    return {file["path"] for model in models for file in model["files"].values()}


def test_only_what_the_manifest_names_stays_exported_and_what_is_the_users(run):
    first = list_models(run)
    assert list_exported(run) == {*first, "exported/manifest.json"}
    members = [m["folder"] for m in read_json(run / "front.json")["members"]]
    fewer = ("finetune.n_subnets=1", 'export.formats=["safetensors"]')
    run_tiny(run, *fewer, stages=["finetune", "export"])
    kept = list_models(run)
    assert kept < first
    assert list_exported(run) == {*kept, "exported/manifest.json"}
    assert {f.name for f in (run / "exported").iterdir() if f.is_dir()} < set(members)
    # All of them are finetuned still.
    assert {f.name for f in (run / "finetuned").iterdir()} == set(members)


def test_an_export_leaves_the_users_own_files(run):
    gone = sorted(list_models(run))[0]
    own = {str(Path(gone).parent / "notes.txt"), "exported/old/model.safetensors"}
    for name in own:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    changed = next(name for name in list_models(run) if name.endswith(".pt2"))
    (run / changed).write_bytes(b"another's")
    (run / "front.json").write_text(
        json.dumps({**read_json(run / "front.json"), "members": []})
    )  # as if nothing were chosen
    put_in_marker(run, "finetune", "front.json")
    run_tiny(run, stages=["export"])
    assert list_exported(run) == {*own, changed, "exported/manifest.json"}


def test_a_manifest_that_names_other_places_deletes_nothing_there(run):
    manifest = read_json(run / "exported" / "manifest.json")
    for name in ("path.json", "exported/../path.json", "exported/x/../../path.json"):
        file = {"path": name, "sha256": hash_file(run / "path.json")}
        manifest["models"].append({"files": {"safetensors": file}})
    for text in (json.dumps(manifest), "[3", "[3]", '{"models": [{"files": 3}]}'):
        (run / "exported" / "manifest.json").write_text(text)
        (run / ".stages" / "export.json").unlink()
        assert run_tiny(run, stages=["export"]) == ["export"]
        assert (run / "path.json").exists()


def test_what_is_finetuned_again_is_what_the_child_study_tells(run):
    run_tiny(run, "finetune.epochs=2", stages=["finetune"])
    front = read_json(run / "front.json")
    expected = {m["trial"]: m["values_after"]["accuracy"] for m in front["members"]}
    children = read_journal(run, "digits-finetune")
    assert {t.user_attrs["parent"]: t.values[0] for t in children} == expected
    assert len(children) == len(expected)


class Interrupting(SilentProgress):
    def advance(self, n=1, note=""):
        raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_with_other_settings_of_later_stages(trained):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(trained, progress=Interrupting())
    assert run_tiny(trained, 'export.formats=["safetensors"]', stages=["search"]) == ["search"]
    assert len(read_journal(trained)) == 12


def test_the_full_net_is_finetuned_even_if_the_search_may_not_have_it(trained):
    overrides = (
        'search.constraints={macs="<= 60%"}',
        'search.objectives=["accuracy", "macs", "pipeline.tiny:count_channels"]',
        "search.n_trials=8",
        'export.formats=["safetensors"]',
    )
    run_tiny(trained, *overrides, stages=["search", "finetune", "export"])
    front = read_json(trained / "front.json")
    full = front["members"][-1]
    assert full["folder"] == "full"
    assert full["trial"] is None
    assert full["macs_share"] == 1
    assert not full["on_front"]
    assert full["values_after"]["count_channels"] == sum(full["widths"].values())
    assert all(member["macs_share"] <= 0.6 for member in front["members"][:-1])
    assert (trained / "exported" / "full" / "model.safetensors").is_file()


def test_the_front_says_what_the_models_do(finished, run):
    front = read_json(finished / "front.json")
    members = front["members"]
    assert [m["macs"] for m in members] == sorted(m["macs"] for m in members)
    assert any(member["on_front"] for member in members)
    assert front["full"]["macs"] == members[-1]["macs"]
    with RunFolder(run) as folder:
        session = Session(load_tiny(), folder, SilentProgress())
        tests = session.batches(session.data.test)
        for member in members:
            widths = session.blank_supernet.space.make(member["widths"])
            tuned = read_finetuned(session, member["folder"], widths)
            found = measure_accuracy(tuned.module, session.validation_batches)
            assert found == member["validation_accuracy"] == tuned.accuracy
            assert found == member["values_after"]["accuracy"]
            assert measure_accuracy(tuned.module, tests) == member["test_accuracy"]
            assert session.footprint.measure(widths)["macs"] == member["macs"]
            # Stale statistics would not survive this.
            fresh = tuned.module
            before = {n: b.clone() for n, b in fresh.named_buffers() if "running" in n}
            calibrate(fresh, session.calibration_images)
            for name, buffer in before.items():
                torch.testing.assert_close(fresh.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)


def test_finetuned_subnets_are_trials_of_the_child_study(finished):
    front = read_json(finished / "front.json")
    children = read_journal(finished, "digits-finetune")
    expected = {m["trial"]: m["values_after"]["accuracy"] for m in front["members"]}
    assert {t.user_attrs["parent"]: t.values[0] for t in children} == expected


def test_the_manifest_says_what_the_files_are(finished):
    manifest = read_json(finished / "exported" / "manifest.json")
    front = read_json(finished / "front.json")
    assert [m["trial"] for m in manifest["models"]] == [m["trial"] for m in front["members"]]
    assert manifest["versions"]["torch"] == metadata.version("torch")
    for model in manifest["models"]:
        assert set(model["files"]) == {"safetensors", "python", "torch_export", "card"}
        for file in model["files"].values():
            path = finished / file["path"]
            assert hash_file(path) == file["sha256"]
            assert path.stat().st_size == file["bytes"]
        assert model["max_difference"] <= 1e-4
        images = torch.zeros(3, *model["input_shape"])
        graph = torch.export.load(finished / model["files"]["torch_export"]["path"]).module()
        assert graph(images).shape == (3, len(model["classes"]))
        weights = safetensors.torch.load_file(finished / model["files"]["safetensors"]["path"])
        n_params = sum(t.numel() for n, t in weights.items() if n.endswith(("weight", "bias")))
        assert n_params == model["params"]


def test_the_path_goes_from_the_full_net_to_the_floor(finished):
    profiles = read_json(finished / "path.json")["profiles"]
    training = read_json(finished / "training.json")
    assert len(profiles) == 4
    macs = [profile["macs"] for profile in profiles]
    assert macs == sorted(macs, reverse=True)
    assert profiles[0]["accuracy"] == training["full"]["accuracy"]
    assert training["policy"] == "dpod"
    assert training["history"][-1]["step"] == training["n_steps"] - 1


def test_every_line_of_the_log_is_json(run):
    run_tiny(run)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert all(set(line) == {"time", "level", "logger", "message"} for line in lines)
    messages = [line["message"] for line in lines]
    assert messages.count("train: starts") == 1
    assert sum("done before" in message for message in messages) == len(NAMES)


def test_a_failed_stage_is_in_the_log(trained, monkeypatch):
    def fail(*_, **__):
        raise ArithmeticError("several\nlines")

    monkeypatch.setattr("dpod_search.pipeline.stages.searching.run_study", fail)
    with pytest.raises(ArithmeticError):
        run_tiny(trained, stages=["search"])
    last = json.loads((trained / "log.jsonl").read_text().splitlines()[-1])
    assert last["level"] == "ERROR"
    assert last["message"] == "search: failed"
    assert "ArithmeticError: several\nlines" in last["exception"]
    assert not (trained / ".stages" / "search.json").exists()


def test_the_log_leaves_the_logger_as_it_was(tmp_path):
    logger = logging.getLogger("dpod_search")
    before = (logger.level, list(logger.handlers))
    with log_to(tmp_path / "log.jsonl"):
        logger.info("é %s", 1)
        logger.debug("not this")
    with pytest.raises(ZeroDivisionError), log_to(tmp_path / "log.jsonl"):
        _ = 1 // 0
    assert (logger.level, list(logger.handlers)) == before
    (line,) = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["message"] == "é 1"


def test_no_password_is_logged(tmp_path):
    url = "postgresql+psycopg://me:hid%40den@host/db"
    logger = logging.getLogger("dpod_search")
    with log_to(tmp_path / "log.jsonl", url):
        logger.info("a study in %s", url)
        try:
            raise ValueError(f"no host for me:hid@den in {url}")
        except ValueError:
            logger.exception("failed")
    text = (tmp_path / "log.jsonl").read_text()
    assert "hid" not in text
    assert text.count("postgresql+psycopg://me:***@host/db") == 2


@pytest.mark.parametrize(
    ("storage", "why"),
    [
        ("sqlite://", "is in memory"),
        ("sqlite:///", "is in memory"),
        ("sqlite:///:memory:", "is in memory"),
        ("postgresql+psycopg:me:hidden@host/db", "has no // after the colon"),
    ],
)
def test_a_storage_that_would_keep_nothing_is_refused_before_anything_is_done(
    tmp_path, monkeypatch, storage, why
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=why) as error:
        run_stages(load_tiny(), tmp_path / "run", storage=storage)
    assert "hidden" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_neither_user_nor_host(finished):
    text = (finished / "environment.json").read_text()
    environment = json.loads(text)
    assert environment["n_threads"] == 1  # the study's, while it runs
    assert environment["versions"]["torch"] == metadata.version("torch")
    assert set(environment) == {
        "python",
        "platform",
        "processor",
        "n_cores",
        "n_threads",
        "cuda",
        "versions",
    }  # fmt: skip  (a table)
    for name in (platform.node(), getpass.getuser(), str(Path.home())):
        assert name not in text


def test_no_file_holds_the_path_of_the_folder(finished):
    for file in finished.rglob("*"):
        if file.suffix in (".json", ".toml", ".csv", ".html", ".jsonl", ".journal"):
            assert str(finished) not in file.read_text(encoding="utf-8"), file.name


def test_threads_are_the_studys_during_the_run_and_the_callers_after(run):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run_tiny(run)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_a_config_error(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=r"device 'cuda' cannot be used .*set device"):
        run_tiny(tmp_path / "run", 'device="cuda"')


def test_status_tells_how_far_a_run_is(finished, trained):
    status = read_status(finished)
    assert status["study"] == "digits"
    assert status["stages"] == dict.fromkeys(NAMES, True)
    assert not status["is_running"]
    assert status["trials"] == {"complete": 12}
    assert status["n_trials"] == 12
    assert status["n_finetuned"] == len(list((finished / "finetuned").iterdir()))
    assert status["n_front"] == len(read_json(finished / "search.json")["front"])
    json.dumps(status)
    status = read_status(trained)
    assert status["stages"] == {name: name == "train" for name in NAMES}
    assert status["trials"] == {}
    assert "counts" not in status


def test_status_changes_nothing_and_works_while_a_run_goes_on(run):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    read_status(run)
    with RunFolder(run):
        assert read_status(run)["is_running"]
    after = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    assert {p.name for p in after if after[p] != before.get(p)} <= {".lock", ".owner"}


def test_status_of_nothing_names_the_command(tmp_path):
    with pytest.raises(
        RunFolderError, match=r"holds no run; start one with `dpod-search run --study"
    ):
        read_status(tmp_path)


def test_a_copy_is_a_run_of_its_own(finished, tmp_path):
    one, two = (copy_run(finished, tmp_path / name) for name in ("one", "two"))
    with RunFolder(one):
        assert run_tiny(two) == []


class Counting(SilentProgress):
    """Counts the units that were worked on."""

    def __init__(self):
        self.n = 0

    def advance(self, n=1, note=""):
        self.n += n


def test_a_kill_before_the_marker_costs_no_training(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def be_killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "mark_done", be_killed)
        run_tiny(folder, stages=["train"])
    before = hash_file(folder / "supernet.safetensors")
    progress = Counting()
    assert run_tiny(folder, stages=["train"], progress=progress) == ["train"]
    assert progress.n == 0
    assert hash_file(folder / "supernet.safetensors") == before
    assert not (folder / "training.checkpoint.safetensors").exists()


def test_a_checkpoint_that_a_kill_left_behind_a_marker_is_deleted(run):
    (run / "training.checkpoint.safetensors").write_bytes(b"")
    assert run_tiny(run) == []
    assert not (run / "training.checkpoint.safetensors").exists()


def test_settings_that_change_no_weight_make_nothing_again(run):
    overrides = (
        "data.download=true",
        'data.root="elsewhere"',
        "training.checkpoint_seconds=99",
        "finetune.checkpoint_seconds=99",
    )
    assert run_tiny(run, *overrides) == ["report"]  # which shows the study


@pytest.mark.parametrize("name", ["initial.safetensors", "initial.pth"])
def test_other_initial_weights_are_noticed(tmp_path, name):
    config = load_tiny()
    change = f"model.weights={tmp_path / name}"
    for seed in (1, 2):
        net = build_model(config.model, input_shape=(1, 8, 8), n_classes=10, seed=seed)
        if name.endswith("pth"):
            torch.save({"state_dict": net.state_dict()}, tmp_path / name)
        else:
            save_weights(tmp_path / name, net)
        if seed == 1:
            assert run_tiny(tmp_path / "run", change, stages=["train"]) == ["train"]
            assert run_tiny(tmp_path / "run", change, stages=["train"]) == []
    with pytest.raises(RunFolderError, match="trained on other pictures or another model"):
        run_tiny(tmp_path / "run", change, stages=["train"])


def test_a_report_alone_leaves_study_and_machine_as_they_were(run):
    kept = read_json(run / "environment.json") | {"python": "another"}
    rewrite(run, "environment.json", kept)
    before = (run / "config.toml").read_bytes()
    assert run_tiny(run, "search.n_trials=99", stages=["report"]) == ["report"]
    assert (run / "config.toml").read_bytes() == before
    assert read_json(run / "environment.json") == kept


def test_other_weights_of_the_same_accuracy_are_exported_again(run):
    file = next((run / "finetuned").glob("*/model.safetensors"))
    tensors = safetensors.torch.load_file(file)
    assert run_tiny(run, stages=["export"]) == []
    tensors["head.bias"] += 1
    safetensors.torch.save_file(tensors, file)
    put_in_marker(run, "finetune", str(file.relative_to(run)))
    assert run_tiny(run, stages=["export"]) == ["export"]


def test_an_objective_meets_finetuned_subnets_as_it_met_searched_ones(trained):
    objectives = 'search.objectives=["pipeline.tiny:measure_confidence", "macs"]'
    overrides = (objectives, "search.n_trials=6", "finetune.n_subnets=1")
    run_tiny(trained, *overrides, stages=["search", "finetune"])
    for member in read_json(trained / "front.json")["members"]:
        assert 0 < member["values_after"]["measure_confidence"] <= 1


def test_an_objective_that_breaks_on_a_finetuned_subnet_is_named(trained):
    objectives = 'search.objectives=["pipeline.tiny:FailsLater", "macs"]'
    overrides = (objectives, "search.n_trials=6", "finetune.n_subnets=1")
    with pytest.raises(ConfigError, match="objective FailsLater is nan for subnet"):
        run_tiny(trained, *overrides, stages=["search", "finetune"])


def test_finetuning_never_searches_again_when_the_study_is_lost(searched):
    (searched / "study.journal").unlink()
    with pytest.raises(RunFolderError, match="0 finished trials of the .* delete search.json"):
        run_tiny(searched, stages=["finetune"])
    assert not (searched / "study.journal").exists()


@pytest.mark.parametrize("how", ["deleted", "emptied", "in a database"])
def test_a_search_whose_study_is_gone_is_done_again_to_the_same_end(finished, run, how):
    names = ("trials", "n_front", "counts", "stages")
    before = {name: read_status(finished)[name] for name in names}
    storage = None
    if how == "deleted":
        (run / "study.journal").unlink()
    elif how == "emptied":
        (run / "study.journal").write_text("")
    else:
        storage = f"sqlite:///{run}/study.db"
        run_tiny(run, storage=storage, stages=["search", "finetune"])
        (run / "study.db").unlink()
    # Without a journal the study may well be in a database that nobody named.
    assert read_status(run, storage)["stages"]["search"] is (how == "deleted")
    # The report shows the new seconds.
    assert run_tiny(run, storage=storage) == ["search", "finetune", "report"]
    assert {name: read_status(run, storage)[name] for name in names} == before
    for name in ("front.json", "exported/manifest.json"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert run_tiny(run, storage=storage) == []


def test_a_figure_that_is_gone_is_drawn_again(finished, run):
    (run / "figures" / "front.csv").unlink()
    assert read_status(run)["stages"] == {name: name != "report" for name in NAMES}
    assert run_tiny(run) == ["report"]
    assert hash_file(run / "figures" / "front.csv") == hash_file(
        finished / "figures" / "front.csv"
    )


def test_finetuning_uses_no_trial_that_was_changed_since_the_search(searched):
    journal = searched / "study.journal"
    number = read_json(searched / "search.json")["front"][0]
    lines = journal.read_text().splitlines(keepends=True)
    place = [i for i, line in enumerate(lines) if '"op_code":4' in line][number]
    record = json.loads(lines[place])
    record["values"][0] += 0.001
    journal.write_text("".join([*lines[:place], json.dumps(record) + "\n", *lines[place + 1 :]]))
    with pytest.raises(CheckpointError, match=f"trial {number} is not what the search wrote"):
        run_tiny(searched, stages=["finetune"])


def test_finetuning_uses_no_trials_of_another_run(searched, tmp_path):
    run_tiny(copy_run(searched, tmp_path / "other"), "search.n_trials=13", stages=["search"])
    found = read_json(searched / "search.json")
    found["trials"]["sha256"] = read_json(tmp_path / "other" / "search.json")["trials"]["sha256"]
    write_json(searched / "search.json", found)
    put_in_marker(searched, "search", "search.json")
    with pytest.raises(RunFolderError, match="other trials than search.json tells of"):
        searching.require_trials(Session(load_tiny(), RunFolder(searched), SilentProgress()))


def test_no_password_is_shown_when_a_study_is_missing(searched, monkeypatch):
    monkeypatch.setattr(
        sys.modules["dpod_search.search.store.status"], "_read_trials", lambda *_: []
    )
    url = "postgresql+psycopg://me:hidden@host/db"
    session = Session(load_tiny(), RunFolder(searched), SilentProgress(), url)
    with pytest.raises(RunFolderError, match="has 0 finished trials") as error:
        searching.require_trials(session)
    assert "hidden" not in str(error.value)
    assert "hidden" not in json.dumps(searching.describe_inputs(session))


def test_a_search_that_is_refused_leaves_the_folder_as_it_was(searched):
    config = (searched / "config.toml").read_text()
    with pytest.raises(RunFolderError, match="another sampler: it was nsga2, now random"):
        run_tiny(searched, 'search.sampler="random"', stages=["search"])
    assert (searched / "config.toml").read_text() == config
    assert run_tiny(searched, stages=["search"]) == []


def test_a_status_counts_the_subnets_of_the_last_finetuning(run):
    leftover = run / "finetuned" / "999"
    shutil.copytree(next(path.parent for path in run.glob("finetuned/*/result.json")), leftover)
    assert read_status(run)["n_finetuned"] == len(read_json(run / "front.json")["members"])
    (run / ".stages" / "finetune.json").unlink()
    assert read_status(run)["n_finetuned"] == len(list(run.glob("finetuned/*/result.json")))


def test_a_status_names_the_limits_that_are_set(trained):
    run_tiny(trained, "search.n_evaluated=5", stages=["search"])
    assert read_status(trained)["limits"] == {"n_evaluated": 5}
