"""A user's own model, own pictures and own objectives, through the whole loop."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e.commands import run_command
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

import dpod_search as dpod


pytestmark = pytest.mark.e2e

CLASSES = ("across", "down", "spot")

OWN_MODULE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Two convolutions, one with a skip; nothing of it is dpod-search's."""

    def __init__(self, channels, n_classes):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Linear(channels * 16, n_classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.second(x))
        x = nn.functional.adaptive_avg_pool2d(x, 4)
        return self.head(x.flatten(1))


class Sharpness:
    """How sure the subnet is of noise; less is better."""

    name = "noise_confidence"
    direction = "minimize"

    def __call__(self, subnet):
        noise = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return subnet(noise).softmax(1).amax(1).mean().item()


def total_width(widths):
    return sum(widths.values())


total_width.direction = "minimize"
total_width.needs = "widths"
'''


def draw_picture(kind: str, rng: np.random.Generator) -> Image.Image:
    """Draw a line across, a line down, or a spot, over noise."""
    pixels = rng.integers(0, 60, (20, 24, 3))
    row, column = rng.integers(5, 15), rng.integers(5, 19)
    if kind == "across":
        pixels[row : row + 2, :] += 180
    elif kind == "down":
        pixels[:, column : column + 2] += 180
    else:
        pixels[row - 2 : row + 3, column - 2 : column + 3] += 180
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A folder with pictures in class folders and a module of the user's own."""
    rng = np.random.default_rng(0)
    for kind in CLASSES:
        folder = tmp_path / "pictures" / kind
        folder.mkdir(parents=True)
        for number in range(60):
            draw_picture(kind, rng).save(folder / f"{number:03d}.png")
    (tmp_path / "mine.py").write_text(OWN_MODULE)
    (tmp_path / "own.toml").write_text(
        textwrap.dedent(
            f"""
            name = "own"
            threads = 1
            [data]
            name = "imagefolder:{tmp_path / "pictures"}"
            image_size = 16
            [model]
            name = "mine:Net"
            arguments = {{ channels = 16, n_classes = 3 }}
            [training]
            epochs = 8
            batch_size = 16
            lr = 0.05
            [search]
            n_trials = 40
            min_evaluated = 15
            population_size = 8
            objectives = ["accuracy", "macs", "mine:Sharpness", "mine:total_width"]
            constraints = {{ params = "<= 90%" }}
            [finetune]
            n_subnets = 3
            epochs = 2
            batch_size = 16
            """
        )
    )
    return tmp_path


def test_own_model_pictures_and_toml_objectives_go_through_run(own_folder: Path) -> None:
    done = run_command("run", "--study", "own.toml", "--json", cwd=own_folder)
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    folder = own_folder / described["folder"]
    search = json.loads((folder / "search.json").read_text())
    assert [o["name"] for o in search["objectives"]] == [
        "accuracy",
        "macs",
        "noise_confidence",
        "total_width",
    ]
    assert {group["name"] for group in search["groups"]} == {"first"}
    members = json.loads((folder / "front.json").read_text())["members"]
    # The constraint rules the full net out; it is there to compare with, and on no front.
    of_full = [member for member in members if member["trial"] is None]
    assert [(m["folder"], m["on_front"], m["macs_share"]) for m in of_full] == [("full", False, 1)]
    for member in members:
        if member["trial"] is None:
            continue
        assert member["values"]["total_width"] == sum(member["widths"].values())
        assert 0 < member["values_after"]["noise_confidence"] <= 1
    assert max(m["validation_accuracy"] for m in members) > 0.9
    assert (folder / "report.html").is_file()
    assert (folder / "exported" / "manifest.json").is_file()


def test_the_python_api_takes_a_custom_objective(tmp_path: Path) -> None:
    # The example of the README, on pictures made here.
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 2
    images = torch.randn(240, 1, 8, 8, generator=generator) + labels[:, None, None, None]
    train_loader = DataLoader(TensorDataset(images[:160], labels[:160]), batch_size=32)
    val_loader = DataLoader(TensorDataset(images[160:], labels[160:]), batch_size=32)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    n_calls = 0

    def mean_score(subnet: dpod.Subnet) -> float:
        nonlocal n_calls
        n_calls += 1
        return float(subnet(images[160:]).abs().mean())

    mean_score.direction = "minimize"  # type: ignore[attr-defined]

    supernet = dpod.build_supernet(model, images[:1])
    dpod.train_supernet(supernet, train_loader, policy="dpod", epochs=6)
    front = dpod.search(
        supernet, objectives=[dpod.Accuracy(val_loader), dpod.Macs(), mean_score], n_trials=30
    )
    assert n_calls > 0
    assert {"accuracy", "macs", "mean_score"} == set(front[0].values)
    full_macs = dpod.build_footprint(supernet).measure(supernet.space.full)["macs"]
    best = dpod.finetune(front.under(macs=full_macs / 2), train_loader)
    assert best.footprint["macs"] <= full_macs / 2
    for name in ("model.pt2", "model.safetensors"):
        exported = dpod.export(best, tmp_path / name)
        assert exported.max_difference <= 1e-4
