"""Parts of a study that say when they are at work, and then wait for ever.

Which part waits, and where it says so, stands in the environment.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dpod_search.data import DataSettings
from dpod_search.data.augmentation import Transform
from dpod_search.data.datasets import DatasetView
from dpod_search.data.digits import load_digits
from dpod_search.data.source import DataSource
from dpod_search.pipeline.stages import table as stages


_TESTS = Path(__file__).resolve().parents[1]
# A loader tries a transform on so many pictures before it uses it.
_N_TRIED = 50


def wait(part: str) -> None:
    """Say that this process is at work, and wait for ever, if the part is the one that waits."""
    if os.environ.get("WAITING_PART") == part:
        (Path(os.environ["WAITING_FOLDER"]) / str(os.getpid())).touch()
        while True:
            time.sleep(60)


def load() -> DataSource:
    """Return the digits; the test pictures wait for ``test``."""
    whole = load_digits(DataSettings())
    indices, labels = np.arange(len(whole.train)), whole.train_labels
    train, test = DatasetView(whole.train, indices[:1500]), Waiting(whole.train, indices[1500:])
    return replace(
        whole, train=train, train_labels=labels[:1500], test=test, test_labels=labels[1500:]
    )


class Waiting(DatasetView):
    """Pictures that wait when one of them is fetched."""

    def fetch(self, indices: Any) -> tuple[Tensor, Tensor]:
        """Return a batch."""
        wait("test")
        return super().fetch(indices)


def make_transform() -> Transform:
    """Return a transform that changes nothing, and waits for ``batch`` once it is really used."""
    n_seen = 0

    def transform(picture: Tensor) -> Tensor:
        nonlocal n_seen
        n_seen += 1
        if n_seen > _N_TRIED:
            wait("batch")
        return picture

    return transform


class Measure:
    """An objective that waits for ``trial``."""

    name = "nothing"
    direction = "minimize"

    def __call__(self, subnet: Any) -> float:
        """Return nothing."""
        wait("trial")
        return 0.0


def let_wait(part: str, folder: Path) -> None:
    """Let a part of this process and its helpers wait, in a session of their own."""
    os.setsid()
    path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")]))
    os.environ.update(PYTHONPATH=path, WAITING_PART=part, WAITING_FOLDER=str(folder))
    write_report = stages.write_report

    def write(folder: Path) -> Path:
        wait("report")
        return write_report(folder)

    stages.write_report = write
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
