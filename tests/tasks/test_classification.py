"""What is no classifier is refused at every door, in one line and before anything is spent."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn
from training.fakes import equal_states

from dpod_search import Accuracy
from dpod_search import Macs
from dpod_search import TrainingSettings
from dpod_search import build_supernet
from dpod_search import finetune
from dpod_search import search
from dpod_search import train_supernet
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import make_teacher
from dpod_search.importance import measure_unit_importance
from dpod_search.pipeline.stages.scores import score_model
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks.classification import check_labels
from dpod_search.tasks.classification import check_scores


N = 8
Batches = list[tuple[Tensor, Any]]


class Net(nn.Module):
    """A net that answers with maps, a tuple, a dictionary, or logits."""

    def __init__(self, answers: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.last = nn.Conv2d(6, 3, 1)
        self.answers = answers

    def forward(self, x: Tensor) -> Any:
        maps = self.last(self.body(x))
        if self.answers == "maps":
            return maps
        logits = maps.mean((2, 3))
        if self.answers == "one number":
            return logits[:, 0]
        named = {"tuple": (logits, maps), "dict": {"scores": logits}}
        return named.get(self.answers, logits)


def make_supernet(answers: str) -> Supernet:
    return build_supernet(Net(answers), torch.randn(2, 1, 5, 5))


def make_batches(answers: str = "logits") -> Batches:
    labels = torch.arange(N) % 3
    if answers == "maps":
        labels = labels[:, None, None].expand(N, 5, 5)
    return [(torch.randn(N, 1, 5, 5), labels) for _ in range(2)]


def train_in_half_precision(supernet: Supernet, batches: Batches) -> None:
    train_supernet(supernet, batches, settings=TrainingSettings(epochs=1, precision="bfloat16"))


def finetune_smallest(supernet: Supernet, batches: Batches) -> None:
    subnet = Subnet(supernet, supernet.space.smallest)
    finetune(subnet, batches, settings=FinetuneSettings(epochs=1, distillation=0))


def evaluate(supernet: Supernet, batches: Batches) -> None:
    evaluator = Evaluator(supernet, torch.randn(N, 1, 5, 5))
    evaluator.evaluate(supernet.space.full, batches)


def search_for_accuracy(supernet: Supernet, batches: Batches) -> None:
    search(supernet, [Accuracy(batches), Macs()], n_trials=2)


def teach(supernet: Supernet, batches: Batches) -> None:
    teacher = make_teacher(supernet, batches, FinetuneSettings(precision="bfloat16"))
    assert teacher is not None
    teacher.answer(0, batches[0][0])


TRAINING: dict[str, Callable[[Supernet, Batches], Any]] = {
    "train_supernet": lambda supernet, batches: train_supernet(supernet, batches, epochs=1),
    "train_supernet, bfloat16": train_in_half_precision,
    "train_supernet, small nets alone": lambda supernet, batches: train_supernet(
        supernet, batches, epochs=1, policy="uniform", settings=TrainingSettings(distillation=0)
    ),
    "finetune": finetune_smallest,
}
MEASURING: dict[str, Callable[[Supernet, Batches], Any]] = {
    "Evaluator": evaluate,
    "Accuracy": search_for_accuracy,
    "measure_accuracy": measure_accuracy,
    "measure_unit_importance": measure_unit_importance,
    "score_model": lambda supernet, batches: score_model(
        supernet, batches, Classification(), tolerance=0
    ),
}
DOORS = {**TRAINING, **MEASURING}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("answers", "got"),
    [
        ("maps", r"a tensor of shape \(\d, 3, 5, 5\)"),
        ("one number", r"a tensor of shape \(\d,\)"),
        ("tuple", "a tuple"),
        ("dict", "a dict"),
    ],
)
def test_answers_that_are_no_logits_are_refused(door: str, answers: str, got: str) -> None:
    supernet = make_supernet(answers)
    before = copy.deepcopy(dict(supernet.named_parameters()))
    with pytest.raises(ConfigError, match=rf"one logit a class, .*got {got}") as told:
        DOORS[door](supernet, make_batches(answers))
    assert "\n" not in str(told.value)
    assert equal_states(before, dict(supernet.named_parameters()))


@pytest.mark.parametrize("answers", ["maps", "tuple"])
def test_a_teacher_whose_answers_are_no_logits_is_refused(answers: str) -> None:
    with pytest.raises(ConfigError, match="one logit a class"):
        teach(make_supernet(answers), make_batches(answers))


LABELS: dict[str, tuple[Any, str]] = {
    "maps": (torch.zeros(N, 5, 5, dtype=torch.int64), r"shape \(8, 5, 5\)"),
    "one-hot": (torch.eye(3)[torch.arange(N) % 3], r"shape \(8, 3\)"),
    "a column": (torch.zeros(N, 1, dtype=torch.int64), r"shape \(8, 1\)"),
    "too few": (torch.zeros(N - 1, dtype=torch.int64), r"shape \(7,\)"),
    "no integers": (torch.zeros(N), "torch.float32"),
    "flags": (torch.zeros(N, dtype=torch.bool), "torch.bool"),
    "too large": (torch.tensor([0, 1, 2, 3] * 2), "got 3"),
    "below 0": (torch.tensor([0, 1, -1, 2] * 2), "got -1"),
    "boxes": ({"boxes": torch.zeros(N, 4)}, "a dict"),
    "a list": (list(range(N)), "a list"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_no_classes_are_refused(door: str, kind: str) -> None:
    labels, got = LABELS[kind]
    supernet = make_supernet("logits")
    before = copy.deepcopy(dict(supernet.named_parameters()))
    with pytest.raises(DataError, match=rf"labels must be .*{got}") as told:
        DOORS[door](supernet, [(images, labels) for images, _ in make_batches()])
    assert "\n" not in str(told.value)
    assert equal_states(before, dict(supernet.named_parameters()))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_integers_of_any_size_are_labels(door: str, dtype: torch.dtype) -> None:
    batches = [(images, labels.to(dtype)) for images, labels in make_batches()]
    DOORS[door](make_supernet("logits"), batches)


def test_what_is_right_passes() -> None:
    scores, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 0], dtype=torch.int16)
    assert check_scores(scores, 4) is scores
    assert torch.equal(check_labels(labels, 4, 3), labels.long())
    assert len(check_labels(labels[:0], 0, 3)) == 0


def test_measuring_no_classes_says_so_and_not_a_share_above_one() -> None:
    """Right pixels over pictures gave 49.2 for maps of 64 pixels."""
    with pytest.raises(ConfigError, match=r"\(8, 3, 5, 5\)"):
        measure_accuracy(make_supernet("maps"), make_batches("maps"))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, u: Tensor, v: Tensor) -> Any:
        return self.b((self.a(u) + self.a(v)).relu())


@pytest.mark.parametrize("door", ["train_supernet", "finetune", "Accuracy"])
def test_a_model_of_two_inputs_takes_both_and_refuses_one(door: str) -> None:
    inputs, labels = torch.randn(N, 8), torch.arange(N) % 3
    supernet = build_supernet(TwoInputs(), (inputs, inputs))
    with pytest.raises(ConfigError, match="cannot be called with these samples alone") as told:
        DOORS[door](supernet, [(inputs, labels)])
    assert "\n" not in str(told.value)
    DOORS[door](supernet, [((inputs, inputs), labels)])  # type: ignore[list-item]


def test_what_the_model_does_not_take_is_refused() -> None:
    inputs, labels = torch.randn(N, 1, 5, 5), torch.arange(N) % 3
    odd: list[Any] = [((inputs, inputs), labels), {"u": inputs, "y": labels}, (inputs, 1, labels)]
    for batch in odd:
        with pytest.raises((ConfigError, DataError), match=r"a batch must be|samples alone"):
            train_supernet(make_supernet("logits"), [batch], epochs=1)
