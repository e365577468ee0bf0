"""Nets that are no classifiers of pictures, through the whole loop: what is written speaks of their task."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from e2e.commands import run_command


pytestmark = pytest.mark.e2e

OWN_MODULE = '''
import torch
from torch import nn
from torch.utils.data import Dataset
from torch.utils.data import TensorDataset

import dpod_search as dpod
from dpod_search.tasks import Metric
from dpod_search.tasks.classes import ClassTally

DRAW = torch.Generator().manual_seed(0)


def rows():
    x = torch.randn(240, 6, generator=DRAW)
    return TensorDataset(x, (x[:, :3].prod(1) + x[:, 3:].sum(1))[:, None]), None, 1


def pictures():
    x = torch.randn(160, 3, 8, 8, generator=DRAW)
    return TensorDataset(x, x.argmax(1)), None, 3


def tokens():
    steps = torch.arange(13) * torch.randint(1, 3, (160, 1), generator=DRAW)
    text = (steps + torch.randint(0, 9, (160, 1), generator=DRAW)) % 9
    return TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous()), None, 9


class Pairs(Dataset):
    def __init__(self):
        self.left, self.right = (torch.randn(160, 6, generator=DRAW) for _ in range(2))

    def __len__(self):
        return 160

    def __getitem__(self, index):
        left, right = self.left[index], self.right[index]
        return {"left": left, "right": right}, int((left > right).sum() > 3)


def pairs():
    return Pairs(), None, 2


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(6, 16)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, right, left):
        return self.head(self.norm(self.first(left) + self.second(right)).relu())


def make_rows():
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


def make_pictures():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 3, 1)
    )


def make_tokens():
    return nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 9))


class Weighted(dpod.Regression):
    """A task of the user's own."""


class Cost(dpod.Classification):
    """What wrong answers cost."""

    metrics = (Metric("cost", "minimize"), *dpod.Classification.metrics)

    def __init__(self, price=2):
        object.__setattr__(self, "price", price)

    def make_tally(self):
        return CostTally(self)


class CostTally(ClassTally):
    def measure(self):
        accuracy = super().measure()["accuracy"]
        return {"cost": self._task.price * (1 - accuracy), "accuracy": accuracy}


def odd_rows():
    """NaN where it is tested alone."""
    train, _, n = rows()
    x, y = (tensor[:40].clone() for tensor in train.tensors)
    x[3, 2] = float("nan")
    return train, TensorDataset(x, y), n


def vector(*_):
    raise NotImplementedError


class Vector(dpod.Regression):
    """Whose loss is no scalar."""

    def compute_loss(self, outputs, targets, *, label_smoothing=0.0):
        return (outputs - targets).square()
'''

STUDY = """
name = "own"
threads = 1
[data]
name = "mine:{data}"
[task]
name = "{task}"
[model]
name = "mine:{model}"
[supernet]
ratios = [0.25, 0.5, 1.0]
[training]
epochs = 4
batch_size = 16
optimizer = "adamw"
lr = 0.01
[search]
n_trials = 10
population_size = 4
{search}
[finetune]
n_subnets = 2
epochs = 1
batch_size = 16
[export]
formats = ["safetensors", "torch_export"]
"""


def write_study(folder: Path, data: str, task: str, model: str, search: str = "") -> Path:
    """Write a study of the user's own data and model."""
    (folder / "mine.py").write_text(OWN_MODULE)
    study = folder / "own.toml"
    study.write_text(
        textwrap.dedent(STUDY).format(data=data, task=task, model=model, search=search)
    )
    return study


def read_words(page: str) -> str:
    """Return what a report says, without its scripts, styles and settings."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    page = re.sub(r"<pre.*?</pre>", " ", page, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", page)


CASES = {
    "regression": ("rows", "regression", "make_rows", "rmse", "RMSE"),
    "own": ("rows", "mine:Weighted", "make_rows", "rmse", "RMSE"),
    "segmentation": ("pictures", "segmentation", "make_pictures", "mean_iou", "mean IoU"),
    "language-model": (
        *("tokens", "language-model", "make_tokens", "bits_per_character"),
        "bits per character",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_speaks_of_the_task(tmp_path: Path, case: str) -> None:
    data, task, model, metric, label = CASES[case]
    study = write_study(tmp_path, data, task, model)
    done = run_command("run", "--study", str(study), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["folder"]
    front = json.loads((folder / "front.json").read_text())
    search = json.loads((folder / "search.json").read_text())
    assert [o["name"] for o in search["objectives"]] == [metric, "macs"]
    assert front["task"]["metrics"][0]["name"] == metric
    is_error = front["task"]["metrics"][0]["direction"] == "minimize"
    for member in front["members"]:
        assert member["values_after"][metric] == member[f"validation_{metric}"]
        assert f"test_{metric}_before" in member
    assert search["objectives"][0]["direction"] == ("minimize" if is_error else "maximize")
    page = read_words((folder / "report.html").read_text())
    assert label in page
    card = next((folder / "exported").glob("*/README.md")).read_text()
    assert f"test {label}" in card
    for told in (page, card):
        allowed = told.replace("pixel accuracy", "")
        assert "accura" not in allowed.lower()
        if case != "segmentation":
            assert "picture" not in told.lower()
    again = run_command("run", "--study", str(study), cwd=tmp_path)
    assert label in " ".join((again.stdout + again.stderr).split())


def test_several_inputs_go_through_run(tmp_path: Path) -> None:
    study = write_study(tmp_path, "pairs", "classification", "Two")
    done = run_command("run", "--study", str(study), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["folder"]
    manifest = json.loads((folder / "exported" / "manifest.json").read_text())
    assert max(model["test_accuracy"] for model in manifest["models"]) > 0.6
    assert all(model["max_difference"] < 1e-4 for model in manifest["models"])
    named = [(each["name"], each["shape"]) for each in manifest["models"][0]["input"]["inputs"]]
    assert sorted(named) == [("left", [6]), ("right", [6])]
    card = next((folder / "exported").glob("*/README.md")).read_text()
    assert "`left`: float32 `batch x 6`" in card
    assert "model(left=left, right=right)" in card


def test_widths_are_chosen_at_once_by_the_loss_of_the_task(tmp_path: Path) -> None:
    study = write_study(tmp_path, "pictures", "segmentation", "make_pictures")
    budget = ("--budget", "macs<=50%")
    done = run_command("mdp", "--study", str(study), *budget, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["folder"]
    front = json.loads((folder / "front.json").read_text())
    assert {member["macs_share"] <= 0.5 for member in front["members"]} == {True, False}
    assert all(0 <= member["test_mean_iou"] <= 1 for member in front["members"])


def test_several_metrics_are_searched_and_bounded(tmp_path: Path) -> None:
    chosen = 'objectives = ["mean_iou", "pixel_accuracy", "macs"]\nconstraints = { pixel_accuracy = ">= 0.34" }'
    study = write_study(tmp_path, "pictures", "segmentation", "make_pictures", chosen)
    done = run_command("search", "--study", str(study), "--json", cwd=tmp_path)
    assert done.returncode == 2, done.stdout  # nothing is trained yet
    done = run_command("run", "--study", str(study), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["folder"]
    front = json.loads((folder / "front.json").read_text())
    found = [m for m in front["members"] if m["trial"] is not None]
    assert all(m["values"]["pixel_accuracy"] >= 0.34 for m in found)


@pytest.mark.parametrize(
    ("data", "task", "model", "changed", "told"),
    [
        ("rows", "regresion", "make_rows", "", "regression"),
        ("rows", "regression", "make_rows", "task.arguments={loss='cubic'}", "huber"),
        ("rows", "segmentation", "make_rows", "", "takes logits of shape (N, classes, H, W)"),
        ("pictures", "classification", "make_pictures", "", "logits of shape (1, 3)"),
        ("rows", "mine:Vector", "make_rows", "", "must return a scalar tensor, got a tensor of"),
        ("rows", "mine:vector", "make_rows", "", "NotImplementedError"),
        (
            *("rows", "regression", "make_rows", "search.objectives=['accuracy','macs']"),
            "no objective is called accuracy; known: rmse, mae, r2",
        ),
        ("rows", "regression", "make_rows", "search.objectives=['rsme','macs']", "rmse"),
        ("rows", "regression", "make_rows", "training.label_smoothing=0.1", "label_smoothing"),
        ("rows", "regression", "make_rows", "training.flip=true", "pictures"),
        (
            *("pairs", "classification", "Two", "search.constraints={accuracy='>= 90'}"),
            "no net reaches '>= 90', for accuracy lies between 0 and 1",
        ),
        ("tokens", "language-model", "make_rows", "", "make_rows cannot take"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_written(  # noqa: PLR0917
    tmp_path: Path, data: str, task: str, model: str, changed: str, told: str
) -> None:
    study = write_study(tmp_path, data, task, model)
    given = ["--set", changed] if changed else []
    done = run_command("run", "--study", str(study), *given, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("*/config.toml"))


def read_card(folder: Path) -> str:
    return next((folder / "exported").glob("*/README.md")).read_text()


def test_a_metric_of_the_users_own_counts(tmp_path: Path) -> None:
    """Of a task that is a classification's class, but is compared by something else."""
    study = write_study(tmp_path, "pairs", "mine:Cost", "Two")
    done = run_command("run", "--study", str(study), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["folder"]
    front = json.loads((folder / "front.json").read_text())
    assert "counts_samples" not in front["task"]
    assert "test cost" in read_card(folder)
    assert "accura" not in read_words((folder / "report.html").read_text()).lower()
    # Another argument of the task is another training.
    (tmp_path / "mine.py").write_text(OWN_MODULE)
    again = run_command(
        *("run", "--study", str(study), "--set", "task.arguments={price=3}"), cwd=tmp_path
    )
    assert again.returncode == 2
    assert "task.arguments.price" in " ".join(again.stderr.split())


def test_a_number_that_is_none_is_told_where_it_was_measured(tmp_path: Path) -> None:
    study = write_study(tmp_path, "odd_rows", "regression", "make_rows")
    done = run_command("run", "--study", str(study), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "on test: look for NaN among its samples" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asked", ["latency", "latency_ms"])
def test_tokens_are_not_timed_and_it_is_said_before_anything_is_trained(
    tmp_path: Path, asked: str
) -> None:
    study = write_study(tmp_path, "tokens", "language-model", "make_tokens")
    objectives = f"search.objectives=['bits_per_character', '{asked}']"
    done = run_command("run", "--study", str(study), "--set", objectives, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "latency is measured on one input of float32, and this model takes int64" in " ".join(
        done.stderr.split()
    )
    assert not list((tmp_path / "runs").glob("*/training.json"))
