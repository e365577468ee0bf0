"""A folder of pictures and the weights of torchvision's mobilenet_v2, as the docs tell it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e.commands import run_command
from PIL import Image
from PIL import ImageDraw

from dpod_search.torchvision_ops import import_torchvision


pytestmark = pytest.mark.e2e

CLASSES = ("bar", "disc", "frame")

# At full width the net is too much for a test of seconds.
WIDTH = 0.25


def draw_picture(kind: str, rng: np.random.Generator) -> Image.Image:
    """Draw one bright shape on a dark picture of a size of its own."""
    size = (int(rng.integers(34, 60)), int(rng.integers(34, 60)))
    image = Image.new("RGB", size, tuple(int(value) for value in rng.integers(0, 90, 3)))
    colour = tuple(int(value) for value in rng.integers(150, 255, 3))
    box = (8, 8, 26, 26)
    if kind == "bar":
        ImageDraw.Draw(image).rectangle((4, 14, 32, 20), fill=colour)
    elif kind == "disc":
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    else:
        ImageDraw.Draw(image).rectangle(box, outline=colour, width=3)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a user has it: pictures by class, and weights of 1000 classes."""
    rng = np.random.default_rng(0)
    for kind in CLASSES:
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(20):
            suffix = "jpg" if number % 2 else "png"
            draw_picture(kind, rng).save(tmp_path / "pictures" / kind / f"{number}.{suffix}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = import_torchvision("models").mobilenet_v2(num_classes=1000, width_mult=WIDTH)
    torch.save(net.state_dict(), tmp_path / "mobilenet_v2.pth")
    return tmp_path


def test_pictures_and_weights_become_a_small_model(folder: Path) -> None:
    made = run_command(
        "init", "--model", "torchvision:mobilenet_v2", "--data", "imagefolder:pictures", cwd=folder
    )
    assert made.returncode == 0, made.stderr
    (folder / "shapes.toml").write_text(made.stdout)

    done = run_command(
        "run",
        "--study=shapes.toml",
        "--out=out",
        "--json",
        sets=(
            'name="shapes"',
            "threads=1",
            "data.image_size=32",
            'model.weights="mobilenet_v2.pth"',
            f"model.arguments={{ width_mult = {WIDTH} }}",
            "supernet.ratios=[0.25, 1.0]",
            "training.epochs=1",
            "training.batch_size=16",
            "training.lr=0.02",
            "evaluation.n_calibration=32",
            "search.n_trials=8",
            "search.constraints.macs=<= 40%",
            "finetune.n_subnets=1",
            "finetune.epochs=1",
            "finetune.max_epochs=1",
            "finetune.n_views=1",
        ),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "classifier.1 has 3 classes and in the file 1000: it is drawn anew" in done.stderr

    manifest = json.loads((folder / "out" / "exported" / "manifest.json").read_text())
    full = next(entry for entry in manifest["models"] if entry["trial"] is None)
    small = next(entry for entry in manifest["models"] if entry["trial"] is not None)
    assert small["macs"] <= 0.4 * full["macs"]
    assert small["classes"] == list(CLASSES)
    assert small["input_shape"] == [3, 32, 32]
    assert load_program(folder / "out" / small["files"]["torch_export"]["path"], cwd=folder) == [
        5,
        len(CLASSES),
    ]


def load_program(path: Path, *, cwd: Path) -> list[int]:
    """Run the exported program on five pictures where nothing but PyTorch was imported."""
    code = (
        "import json, sys, torch\n"
        "model = torch.export.load(sys.argv[1]).module()\n"
        "shape = list(model(torch.zeros(5, 3, 32, 32)).shape)\n"
        "assert not {'dpod_search', 'torchvision'} & set(sys.modules)\n"
        "print(json.dumps(shape))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    shape: list[int] = json.loads(done.stdout.splitlines()[-1])
    return shape
