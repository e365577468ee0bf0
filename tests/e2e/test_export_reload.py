"""Exported models are what was scored: loaded without this package, in each of three ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from pipeline.tiny import load_tiny

from dpod_search.config import load_study
from dpod_search.data import gather_images
from dpod_search.data import load_data
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.delivering import read_finetuned
from dpod_search.progress import SilentProgress


pytestmark = pytest.mark.e2e
pytest.importorskip("onnxruntime")

FORMATS = 'export.formats=["safetensors", "torch_export", "onnx"]'


def reload(folder: Path, pictures: Path) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("reload_exported.py"), folder, pictures],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, dict[str, object]] = json.loads(done.stdout)
    assert set(said) == {"load_code", "load_program", "load_onnx"}
    return said


def check_run(config, run: Path, tmp_path: Path) -> None:
    """Load every exported model of a run, and compare logits and accuracy with the report's."""
    data = load_data(config.data, config.seed)
    images = gather_images(data.test, len(data.test))
    labels = np.array([data.test[i][1] for i in range(len(data.test))])
    manifest = read_json(run / "exported" / "manifest.json")
    members = read_json(run / "front.json")["members"]
    assert len(manifest["models"]) == len(members) >= 2
    with RunFolder(run) as folder:
        session = Session(config, folder, SilentProgress())
        for member, model in zip(members, manifest["models"], strict=True):
            widths = session.blank_supernet.space.make(member["widths"])
            tuned = read_finetuned(session, member["folder"], widths)
            with torch.no_grad():
                logits = torch.cat([tuned.module(part) for part in images.split(256)])
            pictures = tmp_path / f"{member['folder']}.safetensors"
            safetensors.torch.save_file({"images": images, "logits": logits}, pictures)
            said = reload(run / "exported" / member["folder"], pictures)
            for name, result in said.items():
                assert result["difference"] <= 1e-4, name
                accuracy = float((np.array(result["classes"]) == labels).mean())
                assert accuracy == pytest.approx(member["test_accuracy"], abs=1e-9), name
            for kind in ("safetensors", "python", "torch_export", "onnx"):
                file = model["files"][kind]
                assert hash_file(run / file["path"]) == file["sha256"]
                assert file["test_accuracy"] == pytest.approx(member["test_accuracy"], abs=1e-9)
            # What was stored is what the search's own accuracy on validation was measured on.
            stated = model["validation_accuracy"]
            assert stated == member["validation_accuracy"] == tuned.accuracy


def test_models_of_a_digits_run_come_back(tmp_path: Path) -> None:
    config = load_tiny(FORMATS)
    run_stages(config, tmp_path / "run", stages=["train", "search", "finetune", "export"])
    check_run(config, tmp_path / "run", tmp_path)


def make_pictures(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for label, name in enumerate(("dark", "middle", "bright")):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.normal(60 + 70 * label, 30, (32, 32, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.mark.slow
def test_models_of_a_resnet18_run_come_back(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures")
    config = load_study(
        "digits",
        (
            FORMATS,
            f'data.name="imagefolder:{tmp_path / "pictures"}"',
            "data.image_size=32",
            'model={name="torchvision:resnet18"}',
            "supernet.ratios=[0.25, 0.5, 1.0]",
            "training.epochs=1",
            "training.batch_size=16",
            "training.crop_padding=0",
            "training.policy_options={n_profiles=2}",
            "search.n_trials=12",
            "search.population_size=6",
            "search.min_evaluated=10",
            "finetune.n_subnets=2",
            "finetune.epochs=1",
            "finetune.batch_size=16",
        ),
    )
    run_stages(config, tmp_path / "run", stages=["train", "search", "finetune", "export"])
    check_run(config, tmp_path / "run", tmp_path)
