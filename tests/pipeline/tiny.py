"""A whole run of a few seconds: digits, a narrow net, two passes, a dozen trials."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.pipeline import run_stages
from dpod_search.records.markers import FILES
from dpod_search.supernet import Subnet


OVERRIDES = (
    "model.arguments={width=4}",
    "supernet.ratios=[0.25, 0.5, 0.75, 1.0]",
    "training.epochs=2",
    "training.batch_size=128",
    "training.policy_options={n_profiles=4}",
    "search.n_trials=12",
    "search.population_size=6",
    "search.min_evaluated=10",
    "finetune.n_subnets=2",
    "finetune.epochs=1",
    "finetune.batch_size=128",
)


def load_tiny(*overrides: str) -> StudyConfig:
    """Load the tiny study, with further changes."""
    return load_study("digits", (*OVERRIDES, *overrides))


def find_finished(factory: pytest.TempPathFactory) -> Path:
    """Return the finished run of this session, made by whoever asks first; copy it to change it."""
    folder = factory.getbasetemp() / "finished-digits"
    if not (folder / "report.html").exists():
        run_stages(load_tiny(), folder)
    return folder


def copy_run(folder: Path, target: Path) -> Path:
    """Copy a run folder."""
    shutil.copytree(folder, target)
    return target


def rewrite(folder: Path, name: str, value: Any) -> None:
    """Write a JSON file of a run as its stage would."""
    write_json(folder / name, value)
    put_in_marker(folder, FILES[name], name)


def put_in_marker(folder: Path, stage: str, name: str) -> None:
    """Let a stage's marker say that the stage wrote a file as it is now."""
    marker = folder / ".stages" / f"{stage}.json"
    kept = read_json(marker)
    kept["outputs"][name] = hash_file(folder / name)
    write_json(marker, kept)


def count_channels(widths: Mapping[str, int]) -> float:
    """Count all channels: a custom objective that needs nothing but widths."""
    return float(sum(widths.values()))


count_channels.direction = "minimize"  # type: ignore[attr-defined]  # how objectives say it
count_channels.needs = "widths"  # type: ignore[attr-defined]  # as above


def measure_confidence(subnet: Callable[[Tensor], Tensor]) -> float:
    """Measure how sure a subnet is of a blank picture, in NumPy: it must need no gradient."""
    scores = subnet(torch.ones(2, 1, 8, 8)).numpy()
    return float(np.exp(scores).max() / np.exp(scores).sum())


measure_confidence.direction = "maximize"  # type: ignore[attr-defined]  # as above


class RaisesOnce:
    """A measured objective that raises at its third subnet."""

    direction = "minimize"

    def __init__(self) -> None:
        """Count from nothing."""
        self._n = 0

    def __call__(self, subnet: object) -> float:
        """Return nothing worth having, or raise."""
        self._n += 1
        if self._n == 3:
            raise KeyError("nothing")
        return 0.0


def raise_at_once(widths: Mapping[str, int]) -> float:
    """Raise, as an objective that needs widths only."""
    raise ZeroDivisionError("odd")


raise_at_once.direction = "minimize"  # type: ignore[attr-defined]  # as above
raise_at_once.needs = "widths"  # type: ignore[attr-defined]  # as above


class FailsLater:
    """An objective that only a subnet inside the supernet can answer."""

    direction = "minimize"

    def __call__(self, subnet: object) -> float:
        """Return a number for the search, and none after finetuning."""
        return 0.0 if isinstance(subnet, Subnet) else math.nan
