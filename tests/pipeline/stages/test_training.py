from __future__ import annotations

import json

import pytest
from pipeline.tiny import load_tiny

from dpod_search.evaluation import evaluator
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.stages.training import describe_chance


@pytest.mark.parametrize(
    ("accuracy", "n_classes", "is_said"),
    [
        (0.5, 2, True),
        (0.524, 2, True),
        (0.53, 2, False),
        (0.1, 10, True),
        (0.144, 10, True),
        (0.15, 10, False),
        (0.0014, 1000, True),
        (0.0016, 1000, False),
        (1.0, 1, False),
    ],
)
def test_a_net_that_hardly_beats_guessing_is_named(accuracy, n_classes, is_said):
    text = describe_chance(accuracy, n_classes)
    assert (text is not None) == is_said
    assert text is None or ("guessing" in text and "\n" not in text)


def test_training_that_ends_near_chance_says_so_in_the_log_and_in_its_file(tmp_path):
    folder = tmp_path / "run"
    run_stages(load_tiny("training.lr=1e-9", "training.epochs=1"), folder, stages=["train"])
    warning = read_json(folder / "training.json")["warning"]
    assert "guessing among 10 classes" in warning
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    said = [line for line in lines if line["level"] == "WARNING"]
    assert [line["message"] for line in said] == [f"train: {warning}"]


def test_a_training_that_learnt_warns_of_nothing(finished):
    kept = read_json(finished / "training.json")
    assert "warning" not in kept
    assert kept["full"]["accuracy"] > 0.2
    assert kept["seconds"] > 0


def test_calibration_never_runs_more_pictures_at_once_than_evaluation_may(tmp_path, monkeypatch):
    sizes = []
    calibrated = evaluator.calibrated

    def watch(*arguments, batch_size, **options):
        sizes.append(batch_size)
        return calibrated(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr(evaluator, "calibrated", watch)
    config = load_tiny("evaluation.batch_size=100", "training.epochs=1", "finetune.n_subnets=1")
    run_stages(config, tmp_path / "run", stages=["train", "search", "finetune"])
    assert set(sizes) == {100}
