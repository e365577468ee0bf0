"""Metrics from outside are exactly torchmetrics', however samples are cut into batches."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from dataclasses import replace

import pytest
import torch
from tasks.cases import N_CLASSES
from tasks.cases import make_cases

import dpod_search as dpod
from dpod_search.errors import ConfigError
from dpod_search.evaluation import measure_metrics
from dpod_search.search import SearchSettings
from dpod_search.tasks import Metric
from dpod_search.tasks import TaskSettings
from dpod_search.tasks import resolve_task
from dpod_search.tasks.asking import add_batch
from dpod_search.tasks.asking import ask_metrics
from dpod_search.tasks.asking import check_metrics
from dpod_search.tasks.asking import start_tally
from dpod_search.torchvision_ops import ensure_torchvision


ensure_torchvision()  # which torchmetrics imports
torchmetrics = pytest.importorskip("torchmetrics", reason="the extra `metrics` is not installed")

CASES = make_cases()
F1 = "torchmetrics:classification.MulticlassF1Score"

# What each task can be given, and how the library is asked for the same on the whole set at once.
GIVEN = {
    "classification": ["MulticlassF1Score", "MulticlassAUROC", "MulticlassCalibrationError"],
    "segmentation": ["MulticlassF1Score", "MulticlassJaccardIndex"],
    "sequence-labels": ["MulticlassCohenKappa", "MulticlassAccuracy"],
    "language-model": ["MulticlassRecall"],
    "multilabel": ["MultilabelF1Score", "MultilabelAveragePrecision"],
    "regression": ["MeanAbsolutePercentageError", "CosineSimilarity"],
}


def answer(task, case, seed=0):
    torch.manual_seed(seed)
    outputs = task.check_outputs(case.build()(case.samples).detach())
    return outputs, case.targets


def measure(task, outputs, targets, size):
    tally = start_tally(task)
    for batch in zip(outputs.split(size), targets.split(size), strict=True):
        add_batch(task, tally, *batch)
    return ask_metrics(task, tally)


def ask_library(name, outputs, targets):
    """Return a metric of places where something is asked, from the library alone."""
    if name.startswith("Multiclass"):
        made = getattr(torchmetrics.classification, name)(N_CLASSES)
        is_asked = (targets >= 0) & (targets < N_CLASSES)
        axis = 1 if outputs.ndim != 3 else 2
        return made(outputs.movedim(axis, -1)[is_asked], targets[is_asked])
    if name.startswith("Multilabel"):
        return getattr(torchmetrics.classification, name)(N_CLASSES)(outputs, targets)
    return getattr(torchmetrics, name)()(outputs, targets)


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, names in GIVEN.items() for name in names]
)
@pytest.mark.parametrize("size", [64, 7, 1])
def test_a_metric_is_the_librarys_on_the_whole_set(task, name, size):
    module = "" if task == "regression" else "classification."
    path = f"torchmetrics:{module}{name}"
    made = resolve_task(task, {"metrics": [{"metric": path, "name": "given"}]})
    outputs, targets = answer(made, CASES[task])
    found = measure(made, outputs, targets, size)
    assert found["given"] == pytest.approx(float(ask_library(name, outputs, targets)), abs=1e-6)
    plain = measure(resolve_task(task), outputs, targets, size)
    assert {name: found[name] for name in plain} == plain
    assert list(found) == [*plain, "given"]


def test_one_number_a_sample_is_given_without_its_axis():
    task = dpod.Regression(
        metrics=[{"metric": "torchmetrics:PearsonCorrCoef", "direction": "maximize"}]
    )
    got, wanted = torch.randn(30, 1), torch.randn(30)
    found = measure(task, got, wanted, 7)
    expected = torchmetrics.PearsonCorrCoef()(got[:, 0], wanted)
    assert found["pearson_corr_coef"] == pytest.approx(float(expected), abs=1e-5)


def test_logits_that_look_like_probabilities_are_logits():
    task = dpod.Classification(metrics=["torchmetrics:classification.MulticlassCalibrationError"])
    logits, classes = torch.rand(40, N_CLASSES), torch.randint(N_CLASSES, (40,))
    expected = torchmetrics.classification.MulticlassCalibrationError(N_CLASSES)(
        logits.softmax(1), classes
    )
    found = measure(task, logits, classes, 9)["multiclass_calibration_error"]
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_perplexity_of_the_whole_sequences_is_ours():
    entry = {
        "metric": "torchmetrics:text.Perplexity",
        "name": "theirs",
        "arguments": {"ignore_index": -100},
        "whole": True,
    }
    task = dpod.LanguageModel(metrics=[entry])
    found = measure(task, *answer(task, CASES["language-model"]), 7)
    assert found["theirs"] == pytest.approx(found["perplexity"], rel=1e-5)


def test_an_instance_is_left_as_it_was_and_each_net_begins_anew():
    given = torchmetrics.classification.MulticlassF1Score(N_CLASSES, average="micro")
    given.update(torch.eye(N_CLASSES), torch.arange(N_CLASSES))
    before = given.tp.clone()
    task = dpod.Classification(metrics=[given])
    first = measure(task, *answer(task, CASES["classification"], 0), 16)
    measure(task, *answer(task, CASES["classification"], 1), 16)
    again = measure(task, *answer(task, CASES["classification"], 0), 16)
    assert first == again
    assert torch.equal(given.tp, before)
    assert first["multiclass_f1_score"] == pytest.approx(first["accuracy"])


def mean_margin(outputs, targets):
    """Return how far the right class lies above the others, of all samples at once."""
    assert len(outputs) == len(targets) == 64
    return (outputs.gather(1, targets[:, None]).mean() - outputs.mean()).item()


def test_a_function_is_given_all_samples_at_once():
    task = dpod.Classification(metrics=[{"metric": mean_margin, "direction": "maximize"}])
    outputs, targets = answer(task, CASES["classification"])
    found = measure(task, outputs, targets, 7)
    assert found["mean_margin"] == pytest.approx(
        mean_margin(outputs.log_softmax(1), targets), abs=1e-5
    )


class Margin:
    name, direction = "margin", "maximize"

    def __call__(self, outputs, targets):
        return mean_margin(outputs, targets)


def test_an_object_may_say_its_name_and_direction_itself():
    for given in (Margin, Margin()):
        assert dpod.Classification(metrics=[given]).metrics[1].name == "margin"


def test_the_first_metric_of_a_task_stays_the_first():
    task = dpod.Segmentation(metrics=[F1])
    names = [metric.name for metric in task.metrics]
    assert names == ["mean_iou", "pixel_accuracy", "multiclass_f1_score"]
    assert dpod.Segmentation().metrics == dpod.Segmentation.metrics == task.metrics[:2]


def test_the_direction_is_the_librarys():
    (metric,) = dpod.Classification(
        metrics=["torchmetrics:classification.MulticlassHammingDistance"]
    ).metrics[1:]
    assert metric.direction == "minimize"


def test_tasks_are_made_anew_pickled_and_compared_with_their_metrics():
    task = dpod.Segmentation(metrics=[F1])
    assert replace(task, ignored=3).metrics == task.metrics
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301
    assert task == dpod.Segmentation(metrics=[F1]) != dpod.Segmentation()
    assert hash(task) == hash(dpod.Segmentation(metrics=[F1]))


@dataclass(frozen=True)
class Weighted(dpod.Classification):
    factor: float = 2.0


class Renamed(dpod.Classification):
    metrics = (Metric("cost", "minimize"), *dpod.Classification.metrics)


def test_a_task_of_ones_own_takes_metrics_too_and_may_have_others_as_its_own():
    assert [m.name for m in Weighted(3.0, metrics=[F1]).metrics] == [
        "accuracy",
        "multiclass_f1_score",
    ]
    assert [m.name for m in Renamed().metrics] == ["cost", "accuracy"]
    assert [m.name for m in Renamed(metrics=[F1]).metrics][:2] == ["cost", "accuracy"]


def test_it_is_an_objective_with_a_bound_in_a_search():
    case = CASES["classification"]
    task = dpod.Classification(metrics=[F1])
    torch.manual_seed(0)
    supernet = dpod.build_supernet(case.build(), case.samples[:2], ratios=[0.25, 0.5, 1.0])
    front = dpod.search(
        supernet,
        [dpod.TaskMetric("multiclass_f1_score", case.batches(), task), dpod.Macs()],
        constraints={"multiclass_f1_score": ">= 0"},
        settings=SearchSettings(n_trials=3, population_size=2, surrogate="none"),
    )
    for member in front:
        found = measure_metrics(member.subnet, case.batches(5), task)
        assert member.values["multiclass_f1_score"] == pytest.approx(found["multiclass_f1_score"])


def test_metrics_of_one_name_and_other_arguments_are_measured_apart():
    case = CASES["classification"]
    kinds = [
        dpod.Classification(
            metrics=[torchmetrics.classification.MulticlassF1Score(4, average=how)]
        )
        for how in ("micro", "macro")
    ]
    first, second = (
        dpod.TaskMetric("multiclass_f1_score", batches, kind).function.shared
        for batches, kind in zip([case] * 2, kinds, strict=True)
    )
    assert first != second


def test_answers_that_are_nan_give_no_number():
    task = dpod.Classification(metrics=[F1])
    outputs, targets = answer(task, CASES["classification"])
    outputs[3] = math.nan
    found = measure(task, outputs, targets, 7)
    assert math.isnan(found["multiclass_f1_score"])


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (F1[:-1], "has no 'classification.MulticlassF1Scor'; did you mean MulticlassF1Score?"),
        ("torchmetrics:MeanMetric", "does not say which direction is better; say it: { metric"),
        ({"metrc": F1}, "has no 'metrc'; did you mean metric"),
        ({"name": "f1"}, "must say which `metric` it is"),
        (
            {"metric": F1, "arguments": {"averag": "micro"}},
            "Unexpected keyword arguments: `averag`",
        ),
        ({"metric": F1, "direction": "up"}, "does not say which direction"),
        ({"metric": F1, "name": "accuracy"}, "the task has a metric accuracy already"),
        ({"metric": F1, "name": "two words"}, "a metric must have a name"),
        ({"metric": F1, "whole": 1}, "whole true or false"),
        (3, "must be one of torchmetrics, its import path, or a function"),
        (
            Metric("mine", "maximize"),
            "must be one of torchmetrics, its import path, or a function",
        ),
        (lambda outputs, targets: 1.0, "does not say which direction"),
        ("f1", "an import path reads package.module:name"),
    ],
)
def test_what_is_no_metric_is_told_in_a_line(entry, told):
    with pytest.raises(ConfigError) as error:
        dpod.Classification(metrics=[entry])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_metrics_are_a_list():
    with pytest.raises(ConfigError, match="metrics must be a list"):
        dpod.Classification(metrics=F1)


def test_an_instance_has_its_arguments_already():
    made = torchmetrics.classification.MulticlassF1Score(3)
    with pytest.raises(ConfigError, match="takes no arguments, got average"):
        dpod.Classification(metrics=[{"metric": made, "arguments": {"average": "micro"}}])


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"metric": F1, "arguments": {"average": "none"}}, "must give one number, got a tensor"),
        ("torchmetrics:classification.BinaryF1Score", "cannot read what classification compares"),
        ({"metric": lambda o, t: "text", "name": "f", "direction": "maximize"}, "got a str"),
        ({"metric": lambda o, t: o.nothing, "name": "f", "direction": "maximize"}, "nothing"),
    ],
)
def test_what_gives_no_number_or_cannot_read_is_told_in_a_line(entry, told):
    task = dpod.Classification(metrics=[entry])
    with pytest.raises(ConfigError, match=told) as error:
        measure(task, *answer(task, CASES["classification"]), 16)
    assert "\n" not in str(error.value)


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'not installed; pip install "dpod-search\[metrics\]"'):
        dpod.Classification(metrics=[F1])


def test_a_study_file_runs_no_code_of_the_users_when_it_is_read():
    settings = TaskSettings(arguments={"metrics": [{"metric": "no_such_module:metric"}]})
    with pytest.raises(ConfigError, match="no module 'no_such_module'"):
        settings.make()


@pytest.mark.gpu
def test_what_is_measured_on_a_gpu_stays_there():
    task = dpod.Classification(metrics=[F1])
    outputs, targets = answer(task, CASES["classification"])
    here = measure(task, outputs, targets, 16)
    assert measure(task, outputs.cuda(), targets.cuda(), 7) == pytest.approx(here)


def test_no_other_process_is_waited_for(monkeypatch):
    task = dpod.Classification(metrics=[F1])
    outputs, targets = answer(task, CASES["classification"])
    alone = measure(task, outputs, targets, 16)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    assert measure(task, outputs, targets, 16) == alone


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"metric": F1, "arguments": {"average": "none"}}, "must give one number"),
        ("torchmetrics:classification.BinaryF1Score", "cannot read"),
    ],
)
def test_two_samples_tell_before_the_training_what_cannot_be_measured(entry, told):
    case = CASES["classification"]
    good = dpod.Classification(metrics=[F1, "torchmetrics:classification.MulticlassAUROC"])
    outputs, targets = answer(good, case)
    check_metrics(good, outputs[:2], targets[:2])
    with pytest.raises(ConfigError, match=told):
        check_metrics(dpod.Classification(metrics=[entry]), outputs[:2], targets[:2])
