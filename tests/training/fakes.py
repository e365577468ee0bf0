"""Nets of a few hundred weights, pictures of 6 pixels, and a training that stops where it is told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.utils.data import TensorDataset

from dpod_search.data import SeededLoader
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.training.schedule import CountedScorer


Batch = tuple[Tensor, Tensor]

N_CLASSES = 3
SHAPE = (1, 6, 6)


def make_net(dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Two convolutions with BatchNorm, and a linear head; the same weights every time."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 4, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(4, 6, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(6),
            relu2=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(dropout),
            head=nn.Linear(6, N_CLASSES),
        )
    )


def make_supernet(dropout: float = 0.0, seed: int = 0) -> Supernet:
    """Make the supernet of :func:`make_net`: two groups of four and three rungs."""
    net = make_net(dropout, seed)
    return build_supernet(net, torch.zeros(2, *SHAPE), ratios=(0.25, 0.5, 0.75))


def make_pictures(n: int = 24, seed: int = 1) -> Batch:
    """Draw pictures whose brightness tells their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    images = torch.randn(n, *SHAPE, generator=generator) + labels[:, None, None, None]
    return images, labels


def make_batches(n: int = 24, size: int = 8, seed: int = 1) -> list[Batch]:
    """Cut the pictures into a list of batches, which is a loader without a position."""
    images, labels = make_pictures(n, seed)
    return list(zip(images.split(size), labels.split(size), strict=True))


def make_loader(n: int = 24, size: int = 8, seed: int = 1) -> SeededLoader:
    """Shuffle and augment the pictures, in a loader that knows its position."""
    dataset = TensorDataset(*make_pictures(n, seed))
    return SeededLoader(dataset, batch_size=size, seed=3, shuffle=True, crop_padding=1, flip=True)


def make_scorer() -> CountedScorer:
    """Make a judge to whom all subnets are alike, and whose costs are no footprint."""
    return CountedScorer(lambda widths: 1.0, lambda widths: float(sum(widths.active)), 0)


class StoppedError(Exception):
    """What :class:`StopAfter` raises, as Ctrl-C would come."""


class StopAfter(SilentProgress):
    """Progress that ends the training after so many steps, or so many scores of its path."""

    def __init__(self, n_steps: int, *, counts_scores: bool = False) -> None:
        self.n_left = n_steps
        self.counts_scores = counts_scores
        self.tasks: list[str] = []

    def start(self, task: str, total: int, done: int = 0) -> None:
        self.tasks.append(task)

    def advance(self, n: int = 1, note: str = "") -> None:
        if (len(self.tasks) > 1) == self.counts_scores:
            self.n_left -= n
        if self.n_left <= 0:
            raise StoppedError(note)

    def finish(self) -> None:
        self.tasks.pop()


class FixedPolicy:
    """Trains one plan every step."""

    def __init__(self, plan: Any) -> None:
        self._plan = plan

    def begin_step(self, step: int) -> None:
        pass

    def plan(self, step: int) -> Any:
        return self._plan

    def path(self) -> tuple[()]:
        return ()

    def state(self) -> None:
        return None

    def restore(self, state: Any) -> None:
        pass


def equal_states(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Say whether two state dicts are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@contextmanager
def single_thread() -> Iterator[None]:
    """Run PyTorch on one thread: on nets this small, threads only wait for each other."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
