"""What every task keeps to, and its figures against those of others."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn import metrics
from tasks.cases import N_CLASSES
from tasks.cases import make_cases
from torch.nn import functional

import dpod_search as dpod
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.evaluation import measure_metrics
from dpod_search.search import SearchSettings
from dpod_search.tasks import TASKS
from dpod_search.tasks import Classification
from dpod_search.tasks import LanguageModel
from dpod_search.tasks import Metric
from dpod_search.tasks import Multilabel
from dpod_search.tasks import Regression
from dpod_search.tasks import Segmentation
from dpod_search.tasks import SequenceLabels
from dpod_search.tasks import find_metric
from dpod_search.tasks import resolve_task


CASES = make_cases()

every_task = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def answer(case, seed=0):
    """Return the outputs of a new net, and the targets, as the task has both."""
    torch.manual_seed(seed)
    outputs = case.task.check_outputs(case.build()(case.samples), len(case.samples))
    return outputs, case.task.check_targets(case.targets, outputs)


def tally(task, *batches):
    found = task.make_tally()
    for outputs, targets in batches:
        found.add(outputs.detach(), targets)
    return found


def test_each_task_has_a_case_under_its_name():
    assert set(CASES) == set(TASKS)


@every_task
def test_the_loss_is_a_finite_number_with_a_gradient(case):
    outputs, targets = answer(case)
    outputs = outputs.detach().requires_grad_()
    loss = case.task.compute_loss(outputs, targets)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert outputs.grad.isfinite().all()
    assert outputs.grad.abs().sum() > 0


@every_task
def test_distillation_is_zero_on_the_answers_themselves_and_pulls_towards_them(case):
    (outputs, _), (full, _) = answer(case, 0), answer(case, 1)
    outputs, full = outputs.detach().requires_grad_(), full.detach().requires_grad_()
    assert case.task.distill(full, full, 2.0).item() == pytest.approx(0, abs=1e-6)
    before = case.task.distill(outputs, full, 2.0)
    before.backward()
    assert full.grad is None
    nearer = outputs.detach() - 0.1 * outputs.grad
    assert 0 < case.task.distill(nearer, full, 2.0) < before


@every_task
def test_metrics_do_not_depend_on_how_samples_are_cut_into_batches(case):
    outputs, targets = answer(case)
    whole = tally(case.task, (outputs, targets))
    parts = tally(case.task, *zip(outputs.split(5), targets.split(5), strict=True))
    assert parts.n_samples == whole.n_samples == len(case.samples)
    assert parts.measure() == pytest.approx(whole.measure())
    assert parts.measure_quality() == pytest.approx(whole.measure_quality())


@every_task
def test_metrics_are_those_that_are_named_and_lie_in_their_range(case):
    found = tally(case.task, answer(case))
    values = found.measure()
    assert list(values) == [metric.name for metric in case.task.metrics]
    for metric in case.task.metrics:
        assert metric.low <= values[metric.name] <= metric.high
    assert 0 <= found.measure_quality() <= 1


@every_task
def test_answers_nearer_to_the_targets_are_better_in_every_metric(case):
    outputs, targets = (t.detach() for t in answer(case))
    leaf = outputs.clone().requires_grad_()
    for _ in range(300):
        (slope,) = torch.autograd.grad(case.task.compute_loss(leaf, targets) * len(targets), leaf)
        leaf = (leaf - 2 * slope).detach().requires_grad_()
    before, after = tally(case.task, (outputs, targets)), tally(case.task, (leaf, targets))
    for metric in case.task.metrics:
        gained, had = (metric.gain(t.measure()[metric.name]) for t in (after, before))
        assert gained > had
    assert after.measure_quality() > before.measure_quality()


@every_task
def test_a_task_can_be_sent_to_another_process_and_compared(case):
    assert pickle.loads(pickle.dumps(case.task)) == case.task  # noqa: S301
    assert resolve_task(case.task.name) == case.task
    assert resolve_task(case.task) is case.task


@every_task
def test_a_supernet_is_trained_searched_and_finetuned(case):
    torch.manual_seed(0)
    supernet = dpod.build_supernet(case.build(), case.samples[:2], ratios=[0.25, 0.5, 1.0])
    first = case.task.metrics[0]
    batches = case.batches()
    before = first.gain(measure_metrics(supernet, batches, case.task)[first.name])
    settings = dpod.TrainingSettings(epochs=25, lr=0.05, batch_size=16)
    dpod.train_supernet(supernet, batches, settings=settings, task=case.task)
    after = first.gain(measure_metrics(supernet, batches, case.task)[first.name])
    assert after > before
    front = dpod.search(
        supernet,
        [dpod.TaskMetric(first.name, batches, case.task), dpod.Params()],
        settings=SearchSettings(n_trials=3, population_size=2, surrogate="none"),
    )
    least = min(front, key=lambda member: member.values["params"])
    tuned = dpod.finetune(
        least,
        batches,
        validation_loader=batches,
        settings=dpod.FinetuneSettings(epochs=20, lr=0.05),
        task=case.task.name,
    )
    assert tuned.metrics_before[first.name] == pytest.approx(least.values[first.name])
    assert list(tuned.metrics) == [metric.name for metric in case.task.metrics]
    assert first.gain(tuned.metrics[first.name]) >= first.gain(tuned.metrics_before[first.name])
    assert (tuned.accuracy is None) == ("accuracy" not in tuned.metrics)


def test_mean_iou_and_pixel_accuracy_are_scikit_learns():
    outputs, targets = answer(CASES["segmentation"])
    found = tally(Segmentation(), (outputs, targets)).measure()
    is_asked = targets != 255
    got, wanted = outputs.argmax(1)[is_asked].numpy(), targets[is_asked].numpy()
    assert found["mean_iou"] == pytest.approx(metrics.jaccard_score(wanted, got, average="macro"))
    assert found["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(wanted, got))


def test_classes_that_occur_nowhere_do_not_count_in_mean_iou():
    logits = torch.zeros(1, 5, 2, 2)
    logits[:, 1] = 1
    masks = torch.tensor([[[1, 1], [1, 2]]])
    found = tally(Segmentation(), (logits, masks)).measure()
    assert found["mean_iou"] == pytest.approx((3 / 4 + 0) / 2)


def test_labels_are_counted_as_scikit_learn_counts_them():
    outputs, targets = answer(CASES["multilabel"])
    found = tally(Multilabel(), (outputs, targets)).measure()
    given, wanted = (outputs > 0).numpy(), targets.numpy().astype(bool)
    assert found["f1"] == pytest.approx(metrics.f1_score(wanted, given, average="micro"))
    assert found["label_accuracy"] == pytest.approx(1 - metrics.hamming_loss(wanted, given))
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(wanted, given))


def test_errors_are_scikit_learns_even_far_from_zero():
    generator = np.random.default_rng(0)
    wanted = generator.normal(size=(50, 3)) * [1, 10, 0.1] + [1e4, 0, -50]
    got = wanted + generator.normal(size=wanted.shape)
    batches = zip(torch.from_numpy(got).split(7), torch.from_numpy(wanted).split(7), strict=True)
    found = tally(Regression(), *batches).measure()
    assert found["rmse"] == pytest.approx(math.sqrt(metrics.mean_squared_error(wanted, got)))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(wanted, got))
    assert found["r2"] == pytest.approx(metrics.r2_score(wanted, got), rel=1e-6)


def test_numbers_may_lack_the_column_of_one():
    task = Regression()
    outputs = task.check_outputs(torch.tensor([[1.0], [2.0]]))
    targets = task.check_targets(torch.tensor([1, 4]), outputs)
    assert task.compute_loss(outputs, targets).item() == pytest.approx(2.0)
    assert task.check_outputs(torch.tensor([1.0, 2.0])).shape == (2, 1)


def test_perplexity_and_bits_follow_from_the_loss():
    outputs, targets = answer(CASES["language-model"])
    found = tally(LanguageModel(characters_per_token=4), (outputs, targets)).measure()
    loss = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten()).item()
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-6)
    assert found["bits_per_character"] == pytest.approx(loss / math.log(2) / 4, rel=1e-6)


@pytest.mark.parametrize("name", ["segmentation", "sequence-labels"])
def test_where_nothing_is_asked_there_is_no_loss(name):
    outputs, targets = answer(CASES[name])
    nothing = torch.full_like(targets, CASES[name].task.ignored)
    loss = CASES[name].task.compute_loss(outputs, nothing)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, outputs)[0].abs().sum() == 0


@pytest.mark.parametrize("name", ["segmentation", "sequence-labels", "language-model"])
def test_where_nothing_is_asked_nothing_is_measured(name):
    outputs, targets = answer(CASES[name])
    task = CASES[name].task
    found = tally(task, (outputs, torch.full_like(targets, task.ignored)))
    for measure in (found.measure, found.measure_quality):
        with pytest.raises(DataError, match="nothing is asked in any of 64 samples"):
            measure()


@every_task
def test_answers_that_are_nan_are_not_right(case):
    outputs, targets = answer(case)
    found = tally(case.task, (torch.full_like(outputs, math.nan), torch.zeros_like(targets)))
    for metric in case.task.metrics:
        value = found.measure()[metric.name]
        assert math.isnan(value) or value in {0.0, metric.low}


@every_task
def test_a_batch_of_nothing_can_be_looked_at(case):
    outputs, targets = answer(case)
    nothing = case.task.check_outputs(outputs[:0], 0)
    found = tally(case.task, (nothing, case.task.check_targets(targets[:0], nothing)))
    assert found.n_samples == 0


def test_of_a_target_that_never_changes_nothing_is_explained():
    wanted = torch.full((5, 1), 3.0)
    assert tally(Regression(), (wanted + 1, wanted)).measure()["r2"] == 0
    assert tally(Regression(), (wanted, wanted)).measure()["r2"] == 1


def test_numbers_that_the_outputs_cannot_hold_are_refused():
    outputs = torch.zeros(2, 1)
    with pytest.raises(DataError, match="too large"):
        Regression().check_targets(torch.tensor([1.0, 1e300], dtype=torch.float64), outputs)


def test_perplexity_beyond_all_numbers_is_the_largest():
    outputs = torch.zeros(1, 1, 3)
    outputs[..., 0] = 1e6
    found = tally(LanguageModel(), (outputs, torch.tensor([[1]]))).measure()
    assert math.isfinite(found["perplexity"])


def test_masks_of_truth_values_are_two_classes():
    outputs = torch.randn(2, 2, 3, 3)
    masks = torch.rand(2, 3, 3) > 0.5
    assert torch.equal(Segmentation().check_targets(masks, outputs), masks.long())


@pytest.mark.parametrize("key", ["logits", "out"])
@every_task
def test_a_dictionary_answers_with_what_it_calls_logits(case, key):
    outputs, _ = answer(case)
    assert torch.equal(case.task.check_outputs({"aux": 1, key: outputs}), outputs)


@every_task
@pytest.mark.parametrize(
    "outputs", ["text", None, torch.zeros(3, 2, 2, 2, 2), {"boxes": torch.zeros(3)}]
)
def test_answers_that_a_task_cannot_read_are_refused_in_a_line(case, outputs):
    with pytest.raises(ConfigError, match="got a") as told:
        case.task.check_outputs(outputs, 3)
    assert "\n" not in str(told.value)


@every_task
def test_fewer_answers_than_samples_are_refused(case):
    outputs, _ = answer(case)
    with pytest.raises(ConfigError):
        case.task.check_outputs(outputs[:-1], len(case.samples))


@every_task
@pytest.mark.parametrize("spoil", ["shape", "type", "range"])
def test_targets_that_do_not_fit_are_refused_in_a_line(case, spoil):
    outputs, _ = answer(case)
    targets = {
        "shape": lambda: torch.zeros(len(case.targets), 2, 3, 1, 1),
        "type": lambda: "labels",
        "range": lambda: torch.full_like(case.targets, N_CLASSES),
    }[spoil]()
    if spoil == "range" and case.task.name == "regression":
        targets = torch.full_like(case.targets, math.nan)
    with pytest.raises(DataError) as told:
        case.task.check_targets(targets, outputs)
    assert "\n" not in str(told.value)


def test_masks_of_another_size_are_named_with_both_sizes():
    with pytest.raises(DataError, match=r"\(2, 8, 8\), got .*\(2, 4, 4\)"):
        Segmentation().check_targets(torch.zeros(2, 4, 4).long(), torch.zeros(2, 3, 8, 8))


def test_smoothing_without_classes_is_refused():
    outputs, targets = answer(CASES["regression"])
    with pytest.raises(ConfigError, match="label_smoothing"):
        Regression().compute_loss(outputs, targets, label_smoothing=0.1)


def test_a_metric_that_a_task_lacks_names_those_it_has():
    with pytest.raises(ConfigError, match=r"segmentation measures mean_iou, pixel_accuracy, not"):
        find_metric(Segmentation(), "accuracy")
    with pytest.raises(ConfigError, match="not mean_iou"):
        dpod.TaskMetric("mean_iou", [], "classification")


def test_unknown_tasks_and_options_are_named():
    with pytest.raises(ConfigError, match="segmentation"):
        resolve_task("segmentatoin")
    with pytest.raises(ConfigError, match="colour"):
        resolve_task("segmentation", {"colour": 1})
    with pytest.raises(ConfigError, match="loss"):
        resolve_task("regression", {"loss": "cubic"})
    with pytest.raises(ConfigError, match="lacks"):
        resolve_task(object())
    with pytest.raises(ConfigError, match=r"not its class: Segmentation\(\)"):
        resolve_task(Segmentation)
    with pytest.raises(ConfigError, match="its options already"):
        resolve_task(Segmentation(), {"ignored": 0})


def test_a_task_of_the_users_own_is_named_by_its_path():
    task = resolve_task("tasks.test_tasks:OwnTask")
    assert type(task).__name__ == "OwnTask"
    assert resolve_task("sequence-labels", {"ignored": 0}) == SequenceLabels(ignored=0)


class OwnTask(Classification):
    """A task as a user writes one."""


@pytest.mark.parametrize("task", [Segmentation(ignored=9), SequenceLabels(), LanguageModel()])
def test_what_is_not_asked_teaches_nothing(task):
    torch.manual_seed(0)
    shape = (4, 3, 5, 5) if task.axis == 1 else (4, 7, 3)
    outputs, full = torch.randn(shape), torch.randn(shape)
    targets = torch.zeros(outputs.select(task.axis, 0).shape, dtype=torch.int64)
    targets[1:] = task.ignored
    alone = task.distill(outputs[:1], full[:1], 2.0, targets[:1])
    assert task.distill(outputs, full, 2.0, targets).item() == pytest.approx(alone.item())
    nothing = outputs.requires_grad_()
    task.distill(nothing, full, 2.0, torch.full_like(targets, task.ignored)).backward()
    assert not nothing.grad.any()


class Broken(Classification):
    """A task of a user's own, broken in one place."""

    def __init__(self, place):
        object.__setattr__(self, "place", place)

    def compute_loss(self, outputs, targets, *, label_smoothing=0.0):
        loss = functional.cross_entropy(outputs, targets, reduction="none")
        if self.place == "raises":
            raise ValueError("no such weight")
        return loss if self.place == "loss" else loss.mean()

    def distill(self, outputs, full_outputs, temperature=1.0, targets=None):
        return 0.5 if self.place == "distance" else super().distill(outputs, full_outputs)

    def make_tally(self):
        return Nothing() if self.place == "metric" else super().make_tally()


class Nothing:
    n_samples = 8

    def add(self, outputs, targets):
        """Look at nothing."""

    def measure(self):
        return {}

    def measure_quality(self):
        return 0.5


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("raises", r"task classification raised ValueError in line \d+ of .*: no such weight"),
        ("loss", r"compute_loss of task classification must .* got a tensor of shape \(8,\)"),
        ("distance", r"distill of task classification must return a scalar tensor, got a float"),
        ("metric", r"has metric accuracy, and its tally measures nothing; return every metric"),
    ],
)
def test_a_broken_task_is_told_in_one_line(place, told):
    case = CASES["classification"]
    batch = (case.samples[:8], case.targets[:8])
    supernet = dpod.build_supernet(case.build(), case.samples[:2])
    with pytest.raises(ConfigError, match=told):
        dpod.train_supernet(supernet, [batch], epochs=1, task=Broken(place), policy="sandwich")
        measure_metrics(supernet, [batch], Broken(place))


@pytest.mark.parametrize("name", ["", "two words", "loss_before", "macs", "sha256", 3])
def test_a_metric_has_a_name_that_files_can_have(name):
    with pytest.raises(ConfigError, match="a metric must have a name"):
        Metric(name, "maximize")


def test_a_metric_has_a_direction():
    with pytest.raises(
        ConfigError, match='must have direction "minimize" or "maximize", got \'up\''
    ):
        Metric("loss", "up")


def test_numbers_are_not_stretched_to_each_other():
    with pytest.raises(DataError, match="regression compares numbers of one shape"):
        Regression().compute_loss(torch.zeros(4, 1), torch.zeros(4))
