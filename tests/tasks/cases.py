"""For each task a small net, its samples and targets that can be learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn

from dpod_search.tasks import Classification
from dpod_search.tasks import LanguageModel
from dpod_search.tasks import Multilabel
from dpod_search.tasks import Regression
from dpod_search.tasks import Segmentation
from dpod_search.tasks import SequenceLabels
from dpod_search.tasks import Task


N_CLASSES = 4


def make_net(*shape: int) -> nn.Module:
    """Return a net of vectors, or of maps."""
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(*shape, 16), nn.ReLU(), nn.Linear(16, N_CLASSES))
    return nn.Sequential(
        nn.Conv2d(shape[0], 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, N_CLASSES, 1),
    )


class Tokens(nn.Module):
    """Says something of every token."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(N_CLASSES, 12)
        self.body = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, N_CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        answer: Tensor = self.body(self.words(tokens))
        return answer


@dataclass(frozen=True)
class Case:
    """A task and what it is tried on.

    Args:
        task: The task.
        build: Makes the net.
        samples: As many as ``targets``.
        targets: What is to be learnt.
    """

    task: Task
    build: Callable[[], nn.Module]
    samples: Tensor
    targets: Tensor

    def batches(self, size: int = 16) -> list[tuple[Tensor, Tensor]]:
        """Return samples and targets in batches."""
        return list(zip(self.samples.split(size), self.targets.split(size), strict=True))


def make_cases() -> dict[str, Case]:
    """Return a case for each task of the package, by its name."""
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(64, 6, generator=draw)
    answers = vectors @ torch.randn(6, N_CLASSES, generator=draw)
    maps = torch.randn(64, 3, 6, 6, generator=draw)
    masks = torch.stack([maps[:, 0], maps[:, 1], maps[:, 2], maps.sum(1)], 1).argmax(1)
    masks[:, 0] = 255
    tokens = torch.randint(N_CLASSES, (64, 7), generator=draw)
    following = (tokens + 1) % N_CLASSES
    following[:, -1] = -100
    cases = [
        Case(Classification(), lambda: make_net(6), vectors, answers.argmax(1)),
        Case(Multilabel(), lambda: make_net(6), vectors, (answers > 0).long()),
        Case(Regression(), lambda: make_net(6), vectors, answers),
        Case(Segmentation(), lambda: make_net(3, 6), maps, masks),
        Case(SequenceLabels(), Tokens, tokens, following),
        Case(LanguageModel(), Tokens, tokens, following),
    ]
    return {case.task.name: case for case in cases}
