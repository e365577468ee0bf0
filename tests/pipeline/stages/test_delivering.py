"""What was scored is what is delivered: every accuracy is that of the weights in the folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pipeline.tiny import load_tiny
from safetensors.torch import load_file
from safetensors.torch import save_file

from dpod_search.cli.show import describe_run
from dpod_search.errors import CalibrationError
from dpod_search.errors import CheckpointError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.finetune import job
from dpod_search.finetune import tuning
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import StageOutcome
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.delivering import check_delivered
from dpod_search.pipeline.stages.delivering import describe_excess
from dpod_search.pipeline.stages.delivering import read_finetuned
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Subnet


AGAIN = ("finetune.epochs=2", "finetune.n_subnets=all")


def open_session(run: Path, *overrides: str) -> Session:
    return Session(load_tiny(*overrides), RunFolder(run), SilentProgress())


def finetune(run: Path, *overrides: str) -> dict:
    run_stages(load_tiny(*overrides), run, stages=["finetune"])
    return read_json(run / "front.json")


def test_the_search_and_the_subnets_before_finetuning_agree_to_the_picture(run):
    front = finetune(run, "finetune.n_subnets=all")
    session = open_session(run)
    n_images = len(session.data.validation)
    assert len(front["members"]) > 2
    for member in front["members"]:
        searched, before = member["values"]["accuracy"], member["validation_accuracy_before"]
        assert round(searched * n_images) == round(before * n_images)
        # Cut out and calibrated as a plain module, far from the supernet, it is the same net.
        widths = session.supernet.space.make(member["widths"])
        module = Subnet(session.supernet, widths).extract()
        calibrate(module, session.calibration_images)
        plain = measure_accuracy(module.eval(), session.validation_batches)
        assert round(plain * n_images) == round(searched * n_images)
        tests = session.batches(session.data.test)
        assert measure_accuracy(module, tests) == pytest.approx(member["test_accuracy_before"])


def test_the_weights_in_the_folder_have_the_accuracies_of_the_front(run):
    front = finetune(run, *AGAIN)
    session = open_session(run)
    tests = session.batches(session.data.test)
    for member in front["members"]:
        widths = session.blank_supernet.space.make(member["widths"])
        tuned = read_finetuned(session, member["folder"], widths)
        assert measure_accuracy(tuned, session.validation_batches) == member["validation_accuracy"]
        assert measure_accuracy(tuned, tests) == member["test_accuracy"]
        assert tuned.accuracy == member["validation_accuracy"]
        check_delivered(session, member["folder"], tuned)


def test_stale_statistics_after_finetuning_stop_the_run(run, monkeypatch):
    # Those that training leaves behind are an average over its last batches, of other weights.
    monkeypatch.setattr(job, "calibrate", lambda *_, **__: None)
    with pytest.raises(CalibrationError, match=r"statistics of .* are not those of its weights"):
        finetune(run, *AGAIN)
    assert not RunFolder(run).has_ended("finetune")
    monkeypatch.undo()
    # As the message says: what was made without them is made again.
    for folder in (run / "finetuned").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert finetune(run, *AGAIN)["members"]


def test_a_subnet_that_is_not_what_was_searched_is_not_finetuned(run, monkeypatch):
    # As if its statistics were still the full net's.
    monkeypatch.setattr(tuning, "measure", lambda model, context: {"accuracy": 0.01})
    with pytest.raises(CalibrationError, match=r"has accuracy 1.00 % on validation, and had"):
        finetune(run, *AGAIN)


@pytest.mark.parametrize("change", ["weights", "score", "statistics"])
def test_weights_that_were_changed_are_noticed(run, change):
    folder = sorted((run / "finetuned").iterdir())[0]
    weights = load_file(folder / "model.safetensors")
    if change == "weights":
        weights = {
            name: torch.zeros_like(value) if value.ndim == 4 else value
            for name, value in weights.items()
        }
    elif change == "statistics":
        weights = {
            name: value * 1.03 if name.endswith("running_var") else value
            for name, value in weights.items()
        }
    else:
        result = read_json(folder / "result.json")
        write_json(folder / "result.json", {**result, "accuracy": result["accuracy"] + 0.05})
    save_file(weights, folder / "model.safetensors")
    session = open_session(run)
    widths = session.blank_supernet.space.make(read_json(folder / "result.json")["widths"])
    tuned = read_finetuned(session, folder.name, widths)
    error = CheckpointError
    if change == "statistics":
        error = CalibrationError
        accuracy = measure_accuracy(tuned, session.validation_batches)
        tuned = dataclasses.replace(tuned, metrics={"accuracy": accuracy})
    with pytest.raises(error, match=f"delete finetuned/{folder.name} and run"):
        check_delivered(session, folder.name, tuned)


def test_a_full_net_that_is_too_good_on_validation_is_told_everywhere(run, finished, monkeypatch):
    assert "warning" not in read_json(finished / "front.json")
    batch = Session.batches

    def spoil(self: Session, dataset: object) -> object:
        """Give the test pictures wrong labels: as good as if those of validation were known."""
        batches = batch(self, dataset)
        is_test = dataset is self.data.test
        return [(x, (y + 1) % 10) for x, y in batches] if is_test else batches

    monkeypatch.setattr(Session, "batches", spoil)
    front = finetune(run, *AGAIN)
    monkeypatch.undo()
    run_stages(load_tiny(*AGAIN), run, stages=["report"])

    warning = front["warning"]
    assert "which is no chance" in warning
    assert "data.validation" in warning
    lines = (run / "log.jsonl").read_text().splitlines()
    assert f"finetune: {warning}" in [json.loads(line)["message"] for line in lines]
    assert "which is no chance" in (run / "report.html").read_text()
    for stage in ("finetune", "report"):
        assert warning in describe_run(run, [StageOutcome(stage, False, 0.0)])["warning"]


def test_only_what_is_no_chance_is_warned_of():
    def is_warned(right: int, right_on_test: int, n: int, n_test: int) -> bool:
        shares = right / n, right_on_test / n_test
        return describe_excess(*shares, n_validation=n, n_test=n_test) is not None

    assert is_warned(359, 347, 359, 359)  # 100.0 % and 96.7 %
    assert not is_warned(359, 352, 359, 359)
    assert not is_warned(347, 359, 359, 359)  # better on test is no sign of it
    assert not is_warned(20, 16, 20, 20)
    assert is_warned(9_900, 9_800, 10_000, 10_000)
