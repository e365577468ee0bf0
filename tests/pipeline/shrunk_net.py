"""A small net of one's own with trained weights, as a user of ``shrink`` has it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import dpod_search as dpod


# Settings by which a run at a budget takes a second.
QUICK = (
    "finetune.epochs=1",
    "finetune.max_epochs=1",
    "finetune.n_views=1",
    "finetune.batch_size=128",
    "evaluation.n_calibration=128",
    "oneshot.n_batches=2",
    "supernet.ratios=[0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]",
    "threads=1",
)


def make_net() -> nn.Module:
    """Make a net for the digits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def train_weights(path: Path, *, epochs: int = 12) -> None:
    """Train the net in a second, and write its weights as ``torch.save`` does."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = make_net()
    splits = dpod.load_data(dpod.DataSettings("digits"), seed=0)
    loader = dpod.SeededLoader(splits.train, batch_size=64, seed=0, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(epochs):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(net.state_dict(), path)
