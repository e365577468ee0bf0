from __future__ import annotations

import json

import pytest
from pipeline.tiny import load_tiny

from dpod_search.evaluation import evaluator
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.stages.chance import describe_chance
from dpod_search.tasks import Classification
from dpod_search.tasks import LanguageModel
from dpod_search.tasks import Multilabel
from dpod_search.tasks import Regression
from dpod_search.tasks import Segmentation


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
    text = describe_chance(Classification(), {"accuracy": accuracy}, n_classes, noun="sample")
    assert (text is not None) == is_said
    assert text is None or ("guessing" in text and "\n" not in text and "samples" in text)


@pytest.mark.parametrize(
    ("task", "metrics", "told"),
    [
        (Regression(), {"r2": 0.01}, "hardly more than the mean of the targets"),
        (Regression(), {"r2": -3.0}, "R\u00b2 of -3 on validation"),
        (Regression(), {"r2": 0.3}, None),
        (Segmentation(), {"mean_iou": 0.09}, "naming one of 11 classes everywhere"),
        (Segmentation(), {"mean_iou": 0.2}, None),
        (LanguageModel(), {"perplexity": 10.5}, "guessing among 11 tokens"),
        (LanguageModel(), {"perplexity": 6.0}, None),
        (Multilabel(), {"f1": 0.0}, None),
    ],
)
def test_a_net_of_another_task_that_learnt_nothing_is_named(task, metrics, told):
    text = describe_chance(task, metrics, 11)
    assert (text is None) == (told is None)
    if told is not None:
        assert told in text
        assert "accura" not in text
        assert "check the targets" in text
    given = describe_chance(task, metrics, 11, is_trained=False)
    assert told is None or "check model.weights" in given


@pytest.mark.parametrize("task", [Regression(), Segmentation(), LanguageModel()])
def test_of_a_task_that_measures_others_nothing_is_known(task):
    assert describe_chance(task, {"mine": 0.0}, 11) is None


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
